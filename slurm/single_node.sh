#!/bin/sh
# One node, one program: `python job.py` with in-process workers, or all ranks of the node by `hpcflow run`.
#SBATCH --job-name=single
#SBATCH --nodes=1
#SBATCH --ntasks=2
#SBATCH --cpus-per-task=1
#SBATCH --mem=800M
#SBATCH --time=00:30:00
#SBATCH --no-requeue
##SBATCH --account=myproject
##SBATCH --partition=compute
set -eu

# module load python           # what your site needs
# . ~/venvs/hpcflow/bin/activate

# Inside an allocation `hpcflow run` takes the job's tasks as ranks: 1 master + 1 worker here.
exec hpcflow run "${1:-job.py}"
