"""Collective calls: the n-th call of every rank on a communicator meets in round n.

Invariant: the rank that comes last does the whole round's work, for all ranks and in rank order, while nobody else touches the buffers: blocking
callers wait, and a nonblocking call forbids its buffers until Wait, as in MPI. Results are therefore the same whoever is last.

    round 7:  rank 0 Allreduce(x0)   rank 1 Allreduce(x1)   rank 2 Allreduce(x2)  ->  rank 2's thread sums x0 + x1 + x2 into all three receive buffers
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpcflow.bsp.threads.mailbox import Mailbox
from hpcflow.bsp.threads.waiting import Completion, ThreadGroup
from hpcflow.errors import CollectiveAbortedError, CollectiveMismatchError


@dataclass(slots=True)
class Call:
    """What one rank brings to a round."""

    name: str
    """MPI's name of the call, as the user wrote it."""
    send: Any = None
    """Buffers, a pickled object, or arguments; None where this rank sends nothing."""
    receive: Any = None
    root: int | None = None
    op: Any = None
    in_place: bool = False
    counts: list[int] | None = None
    """Items of every rank, for Reduce_scatter."""
    result: Any = None
    """Set by the round's work for calls that return something."""


Work = Callable[[list[Call]], None]


class _Round:
    __slots__ = ("calls", "completions", "entered")

    def __init__(self, size: int) -> None:
        self.calls: list[Call | None] = [None] * size
        self.completions: list[Completion] = []
        self.entered = 0


class Context:
    """What the ranks of one communicator share. `members` are their ranks in the world of the group."""

    def __init__(self, group: ThreadGroup, members: tuple[int, ...]) -> None:
        self.group = group
        self.members = members
        self.size = len(members)
        self.mailboxes = tuple(Mailbox() for _ in members)
        self._rounds: dict[int, _Round] = {}
        self._next = [0] * self.size

    def enter(self, rank: int, call: Call, work: Work, load: Callable[[], Any] | None = None) -> Completion:
        """Bring `call` to this rank's next round; the last rank runs `work(calls in rank order)` here and now."""
        completion = Completion(load)
        with self.group.lock:
            self.group.check()
            number = self._next[rank]
            self._next[rank] = number + 1
            current = self._rounds.get(number)
            if current is None:
                current = self._rounds[number] = _Round(self.size)
            current.calls[rank] = call
            current.completions.append(completion)
            current.entered += 1
            if current.entered < self.size:
                return completion
            del self._rounds[number]
        error: BaseException | None = None
        try:
            calls: list[Call] = current.calls  # type: ignore[assignment]  # all ranks have entered
            _check_same(calls)
            work(calls)
        except Exception as failure:
            error = failure
        except BaseException as failure:  # KeyboardInterrupt on this thread: the others must not wait for ever
            self.group.abort(failure, self.members[rank])
            raise
        with self.group.lock:
            for waiting in current.completions:
                self.group.complete_locked(waiting, error)
        return completion


def raise_failure(error: BaseException) -> None:
    """Raise a round's error on one of its ranks: a copy of its own, since a traceback belongs to one thread."""
    try:
        twin = copy.copy(error)
    except Exception:
        twin = CollectiveAbortedError(f"a collective call has failed: {type(error).__name__}: {error}", error)
    raise twin.with_traceback(None) from error


def _check_same(calls: list[Call]) -> None:
    first = calls[0]
    if all(call.name == first.name and call.root == first.root for call in calls):
        return
    entered = "; ".join(f"rank {rank}: {call.name}" + ("" if call.root is None else f"(root={call.root})") for rank, call in enumerate(calls))
    raise CollectiveMismatchError(
        f"the ranks have entered different collective calls: {entered}. Every rank has to make the same calls in the same order; "
        "HPCFLOW_DEBUG_COLLECTIVES=1 names the line of each"
    )
