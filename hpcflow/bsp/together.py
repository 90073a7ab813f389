"""What one rank decides and all ranks learn, failures included: so that every rank raises, and nobody waits for a rank that has raised alone.

Invariant: collective; every rank leaves with rank 0's value, or with rank 0's exception. On the other ranks the exception says where it came from,
and `told_by` names that rank, so that a report need not repeat the traceback.

    files = from_root(ctx.comm, lambda: sorted(os.listdir(folder)))
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hpcflow.errors import HpcflowError

T = TypeVar("T")
_TOLD_BY = "_hpcflow_told_by"


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a function came to on one rank."""

    rank: int
    host: str
    value: T | None
    error: Exception | None

    def result(self, rank: int) -> T:
        """The value; raises the error, which on other ranks than its own is marked as told already."""
        if self.error is None:
            return self.value  # type: ignore[return-value]  # without an error it is a T
        if rank != self.rank:
            self.error.add_note(f"raised on rank {self.rank} on {self.host}")
            setattr(self.error, _TOLD_BY, self.rank)
        raise self.error


def attempt(function: Callable[[], T], rank: int) -> Outcome[T]:
    """The outcome of `function()`; it travels, whatever was raised."""
    try:
        return Outcome(rank, socket.gethostname(), function(), None)
    except Exception as error:
        return Outcome(rank, socket.gethostname(), None, error)


def from_root(comm: Any, make: Callable[[], T]) -> T:
    """`make()` of rank 0 on every rank (pickled); what it raises is raised everywhere. Collective."""
    rank = comm.Get_rank()
    own = attempt(make, 0) if rank == 0 else None
    outcome: Outcome[T] = comm.bcast(None if own is None else travelling(own))
    return (own or outcome).result(rank)


def dealt_from_root(comm: Any, make: Callable[[], list[T]]) -> T:
    """Item `rank` of the list that `make()` gives on rank 0, one item a rank; what it raises is raised everywhere. Collective."""
    rank, size = comm.Get_rank(), comm.Get_size()
    if rank != 0:
        received: Outcome[T] = comm.scatter(None)
        return received.result(rank)
    own = attempt(make, 0)
    items = [None] * size if own.value is None else own.value
    comm.scatter([travelling(Outcome(0, own.host, item, own.error)) for item in items])
    return own.result(0)[0]


def told_by(error: BaseException) -> int | None:
    """The rank that raised it, when that was another rank than this one."""
    return getattr(error, _TOLD_BY, None)


def travelling(outcome: Outcome[T]) -> Outcome[T]:
    """The same outcome with an error that can be pickled."""
    if outcome.error is None:
        return outcome
    try:
        pickle.loads(pickle.dumps(outcome.error))
        return outcome
    except Exception:
        text = f"{type(outcome.error).__name__}: {outcome.error}"
        return Outcome(outcome.rank, outcome.host, None, HpcflowError(text))
