"""How ranks start: a `LaunchRequest` becomes the argument list of mpirun or srun (pure functions), and a rank's environment becomes a `WorldHint`."""
