"""What one rank has to say in one exchange by rounds: a queue for each other member, and whether more will come.

Invariant: used by the engine thread alone; a talk that has failed sends nothing any more.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from hpcflow.comm.lanes import Outgoing


class Status(IntEnum):
    """What a member tells the others in each round, beside its bytes."""

    WORKING = 0
    """It may send more."""
    PRESSED = 1
    """It has more to send now: every member enters the next round at once."""
    FINISHED = 2
    """It sends nothing after this round."""
    FAILED = 3
    """It has given up; what it had queued is dropped."""

    @property
    def over(self) -> bool:
        return self >= Status.FINISHED


@dataclass(slots=True)
class RoundTally:
    """What a source can see of its rounds; written by the engine thread."""

    rounds: int = 0
    """Entered so far."""


class Talk:
    """One rank's part."""

    def __init__(self, key: int, members: tuple[int, ...], sources: tuple[int, ...]) -> None:
        self.key = key
        self.members = members
        self.sources = sources
        self.tally = RoundTally()
        self.finishing = self.failed = False
        self.opened = False
        """By this rank; else it takes part because others have."""
        self.alone = False
        """No lane was left: messages go one by one."""
        self.most_bytes = 16 << 20
        """Bound on what this rank sends in a round, but for a message that is larger than its share."""
        self._queues: dict[int, deque[Outgoing]] = {rank: deque() for rank in members}
        self._queued = 0

    @property
    def queued(self) -> bool:
        return self._queued > 0

    @property
    def status(self) -> Status:
        if self.failed:
            return Status.FAILED
        if self._queued:
            return Status.PRESSED
        return Status.FINISHED if self.finishing else Status.WORKING

    def queue(self, message: Outgoing) -> None:
        self._queues[message.destination].append(message)
        self._queued += 1

    def fail(self) -> list[Outgoing]:
        """Give up; returns what is not sent."""
        self.failed = True
        return self.take_queued()

    def take_queued(self) -> list[Outgoing]:
        """Everything that is queued, in order for each member."""
        dropped = [message for queue in self._queues.values() for message in queue]
        for queue in self._queues.values():
            queue.clear()
        self._queued = 0
        return dropped

    def next_batch(self) -> list[list[Outgoing]]:
        """The messages of the next round for each member: what fits into its share of `most_bytes`, and one at least."""
        share = self.most_bytes // max(len(self.members) - 1, 1)
        batch: list[list[Outgoing]] = []
        for queue in self._queues.values():
            taken: list[Outgoing] = []
            room = share
            while queue and (not taken or queue[0].size_bytes <= room):
                room -= queue[0].size_bytes
                taken.append(queue.popleft())
            self._queued -= len(taken)
            batch.append(taken)
        return batch
