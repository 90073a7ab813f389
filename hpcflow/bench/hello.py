"""hello: who runs where, with which cores and how many Polars threads."""

from __future__ import annotations

import os

from hpcflow.bench.world import World, library_name


def hello(world: World, size_bytes: int) -> None:
    """One line a rank; `size_bytes` is not used."""
    cores = sorted(os.sched_getaffinity(0))
    here = (world.rank, world.host, os.getpid(), _ranges(cores), os.environ.get("POLARS_MAX_THREADS", "(all cores)"))
    rows = world.comm.gather(here, root=0)
    if rows is not None:
        standard = ".".join(map(str, world.facts.standard))
        print(f"{library_name(world.facts.mpi_library)}, MPI {standard}, {world.facts.thread_level}: {world.size} ranks")
        world.print_table(["rank", "host", "pid", "cores", "POLARS_MAX_THREADS"], rows)


def _ranges(numbers: list[int]) -> str:
    """Sorted numbers as ranges.

    >>> _ranges([0, 1, 2, 7])
    '0-2,7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
