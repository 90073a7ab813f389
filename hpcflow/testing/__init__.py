"""For tests of hpcflow and of programs on it: `run_local`, `run_mpi` (run a job on ranks), `check_comm` (what every `Comm` must do)."""
