"""`hpcflow run job.py -n 4`: the program on one master and N-1 workers, or on N workers (`--mode distributed`)."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def run(
    script: str,
    *arguments: str,
    ranks: Annotated[int | None, Parameter(name=["-n", "--ranks"])] = None,
    cores: int = 1,
    mode: Literal["connected", "distributed"] = "connected",
    launcher: Literal["auto", "mpirun", "srun"] = "auto",
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "--dryrun"], negative=())] = False,
) -> int:
    """Run a program on MPI ranks: one master and N-1 workers, or N workers (--mode distributed).

    Parameters
    ----------
    script
        The program, e.g. job.py; in distributed mode also job.py:MyJob or module:MyJob, a hf.Program, or a function of ctx.
    arguments
        Arguments of the program; those that begin with a dash stand after `--`.
    ranks
        MPI ranks, the master included where there is one. Without it: the Slurm job's tasks, else one worker for each core.
    cores
        Cores of each worker: its Polars pool has as many threads.
    mode
        connected: the program runs on rank 0 and the other ranks serve it. distributed: every rank runs the program.
    launcher
        How ranks start. auto: mpirun of this Python's environment; inside a Slurm allocation srun, where MPI and Slurm speak a common PMI.
    dry_run
        Print the command line and start nothing.
    """
    import os
    import shlex
    import sys

    from hpcflow.cli.start import command_line, default_ranks, place, request_for, start, thread_limits
    from hpcflow.cli.target import parse
    from hpcflow.errors import LaunchError
    from hpcflow.resources import usable_cores

    distributed = mode == "distributed"
    target = parse(script)
    if target.name is not None and not distributed:
        raise LaunchError(f"{script} names a program within {target.source}: say --mode distributed")
    if target.is_file and not os.path.isfile(target.source):
        raise LaunchError(f"no such program: {target.source} (in {os.getcwd()})")
    where = place(os.environ, usable_cores())
    ranks = default_ranks(os.environ, where, master=not distributed) if ranks is None else ranks
    bind, env = (f"--bind-rank={cores}", thread_limits(os.environ, cores)) if distributed else (f"--bind-worker={cores}", {})
    words = [script] if target.name is None else [f"--program={script}"]
    request = request_for([sys.executable, "-m", "hpcflow", bind, *words, *arguments], ranks, cores, where, env)
    argv = command_line(request, launcher, where)
    if dry_run:
        print(shlex.join(argv))
        return 0
    print(f"hpcflow: {_roles(ranks, distributed)}", file=sys.stderr, flush=True)
    return start(argv)


def _roles(ranks: int, distributed: bool) -> str:
    """What the ranks are, in words."""
    if distributed:
        return f"{ranks} worker{'s' if ranks > 1 else ''}"
    if ranks == 1:
        return "1 rank, master and worker in one"
    return f"{ranks} ranks: 1 master + {ranks - 1} worker{'s' if ranks > 2 else ''}, or {ranks} workers with master='shared'"
