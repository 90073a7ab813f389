"""What the families of calls have in common: a rank in a communicator, and the two ways to join a round.

Invariant: every collective call of a rank passes `_meet` (blocking) or `_start` (nonblocking), so the n-th one meets the n-th ones of the other
ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcflow.bsp.threads.errors import ERR_COMM, ERR_ROOT, MpiError
from hpcflow.bsp.threads.foreign import rank_of
from hpcflow.bsp.threads.requests import Request
from hpcflow.bsp.threads.rounds import Call, Context, Work, raise_failure
from hpcflow.bsp.threads.waiting import Completion, ThreadGroup


class RankBase:
    """One rank of one communicator."""

    def __init__(self, context: Context, rank: int) -> None:
        self._context = context
        self._freed = False
        self.rank = rank
        self.size = context.size
        self.group: ThreadGroup = context.group

    def _meet(self, call: Call, work: Work) -> Any:
        """Join the round, wait for its end, and give what the work left for this rank."""
        self._check()
        completion = self._context.enter(self.rank, call, work)
        self._wait(completion)
        return call.result

    def _start(self, call: Call, work: Work, load: Callable[[], Any] | None = None) -> Request:
        self._check()
        return Request(self.group, self._context.enter(self.rank, call, work, load))

    def _wait(self, completion: Completion) -> None:
        if not completion.done:
            self.group.wait((completion,))
        if completion.error is not None:
            raise_failure(completion.error)

    def _check(self) -> None:
        if self._freed:
            raise MpiError(ERR_COMM, "the communicator has been freed")

    def _root(self, root: Any) -> int:
        rank = rank_of(root, self.size, ERR_ROOT)
        if rank is None:
            raise MpiError(ERR_ROOT, f"PROC_NULL is no root: give 0 to {self.size - 1}")
        return rank
