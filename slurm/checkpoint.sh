#!/bin/sh
# A long job in pieces: two minutes before the limit Slurm sends USR1 to this shell, which leaves a file; the program looks for it with
# hpcflow.launch.should_stop(), saves its state and ends with status 75; then the job is queued again, and goes on from its state.
#SBATCH --job-name=checkpoint
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=200M
#SBATCH --time=01:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
##SBATCH --account=myproject
##SBATCH --partition=compute
set -u

# . ~/venvs/hpcflow/bin/activate

export HPCFLOW_STOP_FILE="$PWD/stop-$SLURM_JOB_ID"
rm -f "$HPCFLOW_STOP_FILE"
trap ': >"$HPCFLOW_STOP_FILE"' USR1          # the program itself gets no signal: USR2 would kill MPICH's mpirun, others interrupt MPI calls

python "${1:-job.py}" &
program=$!
while :; do                                  # wait ends early when the signal comes
    wait "$program"
    code=$?
    kill -0 "$program" 2>/dev/null || break
done
rm -f "$HPCFLOW_STOP_FILE"
if [ "$code" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
