"""What one action has to say to the workers, put together so that each of them is woken once.

Invariant: messages reach a worker in the order in which they were posted, and exchange steps of all actions are opened in one order on all workers:
from `number_step` to `send` no other action numbers one.

    mail.to_all(OpenExchange(...)); mail.to(2, RunTasks(...)); mail.send()          # one message each, pickled once where it is the same
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcflow.runtime.messages import Several

if TYPE_CHECKING:
    from hpcflow.runtime.master import Master


class Mail:
    """Messages of one action; used by its thread alone."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._posted: dict[int, list[Any]] = {rank: [] for rank in master.worker_ranks}
        self._urgent = False
        self._holds_order = False

    def to(self, rank: int, message: Any) -> None:
        """Post a message for one worker."""
        self._posted[rank].append(message)
        self._urgent = True

    def to_all(self, message: Any, urgent: bool = True) -> None:
        """Post a message for every worker; one that is not urgent waits for the next that is."""
        for posted in self._posted.values():
            posted.append(message)
        self._urgent = self._urgent or urgent

    def number_step(self) -> int:
        """The number of the next exchange step; the next `send` has to follow soon."""
        if not self._holds_order:
            self._master.open_lock.acquire()
            self._holds_order = True
        return self._master.next_step()

    def send(self) -> None:
        """Send what has been posted."""
        try:
            if self._urgent:
                self._urgent = False
                self._send()
        finally:
            if self._holds_order:
                self._holds_order = False
                self._master.open_lock.release()

    def discard(self) -> None:
        """Forget what has been posted and not sent."""
        for posted in self._posted.values():
            posted.clear()
        self.send()

    def _send(self) -> None:
        together: dict[tuple[int, ...], tuple[list[Any], list[int]]] = {}
        for rank, messages in self._posted.items():
            if messages:
                together.setdefault(tuple(map(id, messages)), (messages, []))[1].append(rank)
        for messages, ranks in together.values():
            self._master.send_to(ranks, messages[0] if len(messages) == 1 else Several(tuple(messages)))
        for rank in self._posted:
            self._posted[rank] = []
