#!/bin/sh
# Several nodes, one MPI world: rank 0 is the master and the driver, all others are workers.
#SBATCH --job-name=mpi
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=1
#SBATCH --mem=800M
#SBATCH --time=01:00:00
#SBATCH --no-requeue
##SBATCH --account=myproject
##SBATCH --partition=compute
##SBATCH --exclusive
set -eu

# module load python mpi
# . ~/venvs/hpcflow/bin/activate

# srun does not hand --cpus-per-task on to its steps by itself.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
export POLARS_MAX_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# MPICH speaks pmi2, Open MPI pmix; `srun --mpi=list` says what this Slurm has, and `hpcflow doctor` what fits.
exec srun --mpi=pmi2 --kill-on-bad-exit=1 python -m hpcflow "${1:-job.py}"
