"""CPU binding of worker processes that does not fight the launcher's.

Invariant: only processes that may use exactly the same CPUs as another worker of their node are bound, each to a block of physical cores of its own;
what mpirun or Slurm has bound (their CPU sets differ), what does not fit (more workers or Polars threads than cores), and everything with
`bind="none"` stays as it is.

    >>> block_of(((0, 4), (1, 5), (2, 6), (3, 7)), 1, 2)
    frozenset({2, 3, 6, 7})
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from hpcflow.bsp.place import Description
from hpcflow.resources import physical_cores


def shares_of_cpus(workers: Mapping[int, tuple[Description, int]]) -> dict[int, tuple[int, int]]:
    """Rank -> (place, takers) among the worker processes that may use the same CPUs of its node; left out where a process has them for itself.

    workers: rank -> (what it said, process id)
    """
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for rank in sorted(workers):
        description, _ = workers[rank]
        groups.setdefault((description.node, description.cpus), []).append(rank)
    shares: dict[int, tuple[int, int]] = {}
    for ranks in groups.values():
        one_process_each = len({workers[rank][1] for rank in ranks}) == len(ranks)
        if len(ranks) > 1 and one_process_each:
            shares |= {rank: (place, len(ranks)) for place, rank in enumerate(ranks)}
    return shares


def block_of(cores: tuple[tuple[int, ...], ...], place: int, takers: int) -> frozenset[int]:
    """CPUs of taker `place`: a block of neighbouring physical cores; none where there are fewer cores than takers."""
    if len(cores) < takers:
        return frozenset()
    return frozenset(cpu for core in cores[place * len(cores) // takers : (place + 1) * len(cores) // takers] for cpu in core)


def bind_process(share: tuple[int, int], threads: int) -> frozenset[int]:
    """Bind all threads of this process to its block, unless it has more Polars threads than the block has cores; returns the CPUs, if bound."""
    cores = physical_cores()
    block = block_of(cores, *share)
    if not block or threads > sum(1 for core in cores if block.issuperset(core)):
        return frozenset()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setaffinity(int(thread.name), block)
    return block
