"""What the collective calls of this package need of a rank: a small protocol, so that every kind of context fits.

Invariant: every rank of the group makes the same collective calls in the same order; `next_step()` therefore gives the same number on all of them,
and no number twice in a session.

    class Context: ...                     # has rank, size, comm, exchanges, pool, engine_ranks, next_step()
    sorted_share = operators.sort(context, df, "k")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from hpcflow.native import ArenaPool
from hpcflow.shuffle.exchange import ExchangeService


class Group(Protocol):
    """One rank of the workers that run a program together."""

    @property
    def rank(self) -> int:
        """This worker's number, 0 to size - 1: its rank in `comm`."""

    @property
    def size(self) -> int:
        """How many workers there are."""

    @property
    def comm(self) -> Any:
        """The workers' communicator: an `mpi4py.MPI.Intracomm`, or what answers the same calls in-process."""

    @property
    def MPI(self) -> Any:  # noqa: N802  as it is written in MPI programs
        """The module that fits `comm`: `mpi4py.MPI`, or its twin of threads."""

    @property
    def exchanges(self) -> ExchangeService:
        """Moves rows; used by one thread of this rank at a time."""

    @property
    def pool(self) -> ArenaPool:
        """Memory for frames."""

    @property
    def engine_ranks(self) -> Sequence[int]:
        """Worker number -> rank of its engine: the same number in distributed mode, one more where rank 0 hosts the master alone."""

    def next_step(self) -> int:
        """The number of the next exchange, the same on all ranks."""
