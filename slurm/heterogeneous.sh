#!/bin/sh
# Two kinds of nodes in one MPI world: a master with much memory, and workers. One world over components is possible by srun alone.
#SBATCH --job-name=heterogeneous
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=600M
#SBATCH --time=00:30:00
#SBATCH --no-requeue
##SBATCH --partition=bigmem
#SBATCH hetjob
#SBATCH --nodes=1
#SBATCH --ntasks=2
#SBATCH --cpus-per-task=1
#SBATCH --mem=600M
#SBATCH --time=00:30:00
##SBATCH --partition=compute
set -eu

# . ~/venvs/hpcflow/bin/activate

export POLARS_MAX_THREADS=1
exec srun --het-group=0-1 --mpi=pmi2 --kill-on-bad-exit=1 python -m hpcflow "${1:-job.py}"
