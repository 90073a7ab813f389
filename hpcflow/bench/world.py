"""The ranks that a check runs on, and how its figures are printed.

Invariant: MPI is opened once, on the main thread; only rank 0 prints; a check that fails on one rank ends that rank with a status that is not 0.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpcflow.comm.mpi import MpiFacts, open_mpi
from hpcflow.comm.watchdog import install_excepthooks
from hpcflow.launch.launchers.environment import check_world, detect

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class World:
    """comm: a communicator of all ranks for the check alone; facts: what MPI says about itself; host: of this rank."""

    comm: MPI.Intracomm
    facts: MpiFacts
    host: str

    @property
    def rank(self) -> int:
        return self.comm.Get_rank()

    @property
    def size(self) -> int:
        return self.comm.Get_size()

    def slowest(self, seconds: float) -> float:
        """The largest of all ranks' times, on every rank: a collective is as slow as its slowest rank."""
        return float(max(self.comm.allgather(seconds)))

    def print_table(self, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if self.rank == 0:
            print(format_table(head, rows), flush=True)


@contextmanager
def open_world() -> Iterator[World]:
    """All ranks; refuses a world of 1 that its launcher meant to be larger."""
    install_excepthooks()
    mpi = open_mpi()
    check_world(detect(os.environ), mpi.size, mpi.facts.mpi_library)
    comm = mpi.duplicate()
    yield World(comm, mpi.facts, socket.gethostname())
    comm.Barrier()
    comm.Free()
    mpi.close()


def best_of(world: World, repeats: int, action: Any) -> float:
    """Seconds of the best of `repeats` runs of `action()`, each begun together and timed by its slowest rank."""
    best = float("inf")
    for _ in range(repeats):
        world.comm.Barrier()
        started = time.perf_counter()
        action()
        best = min(best, world.slowest(time.perf_counter() - started))
    return best


def format_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns as wide as their widest cell, numbers to the right.

    >>> print(format_table(["rank", "host"], [[0, "a"], [10, "node2"]]))
    rank  host
       0  a
      10  node2
    """
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    right = [bool(rows) and all(isinstance(row[column], int | float) for row in rows) for column in range(len(head))]
    lines = ("  ".join(_pad(*cell) for cell in zip(row, widths, right, strict=True)).rstrip() for row in cells)
    return "\n".join(lines)


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def library_name(text: str) -> str:
    """The name and version at the beginning of what an MPI library says about itself.

    >>> library_name("Open MPI v5.0.11, package: Open MPI user@localhost")
    'Open MPI v5.0.11'
    """
    return " ".join(text.split(",")[0].split())


def gigabytes_per_second(size_bytes: float, seconds: float) -> float:
    return round(size_bytes / max(seconds, 1e-9) / 1e9, 2)
