#!/bin/sh
# A sweep: element N of the array runs the program with line N of a file as its arguments; four at a time.
#SBATCH --job-name=array
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=200M
#SBATCH --time=00:10:00
#SBATCH --array=1-3%4
#SBATCH --no-requeue
##SBATCH --account=myproject
##SBATCH --partition=compute
set -eu

# . ~/venvs/hpcflow/bin/activate

# One line of arguments for each element, e.g. "--lr 0.1"; words are split at spaces.
parameters=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "${2:-parameters.txt}")
# shellcheck disable=SC2086  # words are meant to be split
exec python "${1:-job.py}" $parameters
