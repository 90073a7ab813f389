"""`hpcflow run job.py -n 4`: the program on one master and N-1 workers."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def run(
    script: str,
    *arguments: str,
    ranks: Annotated[int | None, Parameter(name=["-n", "--ranks"])] = None,
    cores: int = 1,
    mode: Literal["connected"] = "connected",
    launcher: Literal["auto", "mpirun", "srun"] = "auto",
    dry_run: bool = False,
) -> int:
    """Run a program on MPI ranks: one master and N-1 workers.

    Parameters
    ----------
    script
        The program, e.g. job.py.
    arguments
        Arguments of the program; those that begin with a dash stand after `--`.
    ranks
        MPI ranks, the master included. Without it: the Slurm job's tasks, else one worker for each core.
    cores
        Cores of each worker: its Polars pool has as many threads.
    mode
        connected: the program runs on rank 0 and the other ranks serve it.
    launcher
        How ranks start. auto: mpirun of this Python's environment; inside a Slurm allocation srun, where MPI and Slurm speak a common PMI.
    dry_run
        Print the command line and start nothing.
    """
    import os
    import shlex
    import sys

    from hpcflow.cli.start import command_line, default_ranks, place, request_for, start
    from hpcflow.errors import LaunchError
    from hpcflow.resources import usable_cores

    if not os.path.isfile(script):
        raise LaunchError(f"no such program: {script} (in {os.getcwd()})")
    where = place(os.environ, usable_cores())
    ranks = default_ranks(os.environ, where) if ranks is None else ranks
    program = [sys.executable, "-m", "hpcflow", f"--bind-worker={cores}", script, *arguments]
    argv = command_line(request_for(program, ranks, cores, where), launcher, where)
    if dry_run:
        print(shlex.join(argv))
        return 0
    print(f"hpcflow: {_roles(ranks)}", file=sys.stderr, flush=True)
    return start(argv)


def _roles(ranks: int) -> str:
    """What the ranks are, in words."""
    if ranks == 1:
        return "1 rank, master and worker in one"
    return f"1 master + {ranks - 1} worker{'s' if ranks > 2 else ''}"
