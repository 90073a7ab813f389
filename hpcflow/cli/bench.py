"""`hpcflow bench ring -n 2`: one check of the cluster on N ranks."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def bench(
    name: Literal["hello", "ring", "alltoall", "shuffle"],
    *,
    ranks: Annotated[int | None, Parameter(name=["-n", "--ranks"])] = None,
    size: str = "64MiB",
    launcher: Literal["auto", "mpirun", "srun"] = "auto",
) -> int:
    """Measure the ranks and the wires between them; the same as `mpirun -n N python -m hpcflow.bench NAME`.

    Parameters
    ----------
    name
        hello: who runs where. ring: latency and bandwidth of neighbours. alltoall: raw MPI all-to-all. shuffle: table to table through the exchange.
    ranks
        MPI ranks. Without it: the Slurm job's tasks, else one for each core.
    size
        Bytes that each rank sends (ring: the largest message).
    launcher
        How ranks start, as in `hpcflow run`.
    """
    import os
    import sys

    from hpcflow.cli.start import command_line, default_ranks, place, request_for, start
    from hpcflow.resources import usable_cores

    where = place(os.environ, usable_cores())
    ranks = max(2, default_ranks(os.environ, where) - (0 if where.allocation else 1)) if ranks is None else ranks
    program = [sys.executable, "-m", "hpcflow.bench", name, "--size", size]
    return start(command_line(request_for(program, ranks, 1, where), launcher, where))
