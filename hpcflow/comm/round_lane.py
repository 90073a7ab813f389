"""One lane: rounds of a few ranks on a communicator of their own, for one exchange after another.

Invariant: every member makes the same calls in the same order. A round is an exchange of (units for you, status, units in all) and, when anybody has
bytes, one of the bytes; it ends the exchange in the same round everywhere once each member says finished or failed. Nothing here waits.

    idle --- has bytes, or its status has changed, or a member has entered ---> counts --- somebody has bytes ---> bytes ---> idle
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from hpcflow.comm.base import UNIT_BYTES, Buffer, CollectiveRequest, RankGroup
from hpcflow.comm.lanes import Outgoing
from hpcflow.comm.round_blocks import block_units, read_block, write_block
from hpcflow.comm.round_talk import Status, Talk

_REACH = 4
"""A rank tells those at distance 1, 2, 3, 4, 8, 12, 16, 32, 48 ... that it has entered, and they those at such distances, so that all soon know."""


class LaneOwner(Protocol):
    """What a lane needs of its rank; all on the engine thread."""

    def allocate(self, size_bytes: int) -> Buffer: ...

    def delivered(self, source: int, message: Buffer) -> None: ...

    def sent(self, message: Outgoing) -> None: ...

    def entered(self, lane: int, round: int, rank: int) -> None:
        """Tell `rank` that this one has entered a round."""

    def ended(self, talk: Talk) -> None:
        """All members are through with it."""


class RoundLane:
    """One rank's end of a lane."""

    def __init__(self, number: int, members: tuple[int, ...], rank: int, group: RankGroup, owner: LaneOwner) -> None:
        self.bytes_under_way = False
        self._number = number
        self._members = members
        self._index = members.index(rank)
        self._group = group
        self._owner = owner
        self._waiting: deque[Talk] = deque()
        self._talk: Talk | None = None
        self._working: list[int] = []  # indices of the members that were working after the last round; the same everywhere
        self._round = 0  # of the lane's life
        self._called = -1  # the last round that another member has entered
        self._callers: set[int] = set()  # indices of the members that are known to have entered this round
        self._everyone_enters = False
        self._request: CollectiveRequest | None = None
        self._told = self._heard = np.empty((0, 3), np.int64)
        self._batch: list[list[Outgoing]] = []
        self._sending: Buffer = b""
        self._receiving: Buffer = b""

    def give_to(self, talk: Talk) -> None:
        """The next exchange to use it, after those before."""
        self._waiting.append(talk)

    def call(self, rank: int, round: int) -> None:
        """`rank` has entered a round."""
        if round > self._called:
            self._called = round
            self._callers.clear()
        if round == self._called:
            self._callers.add(self._members.index(rank))

    @property
    def in_use(self) -> bool:
        return self._talk is not None or bool(self._waiting)

    @property
    def pressing(self) -> bool:
        """Whether bytes of this rank wait for others to enter."""
        return self._request is not None and any(self._batch)

    def step(self) -> bool:
        """Go on as far as it goes without waiting; True when anything has happened."""
        if self._request is None:
            if self._talk is None:
                self._begin()
            talk = self._talk
            if talk is None or not (talk.queued or talk.status.over or self._called >= self._round or self._everyone_enters):
                return False
            self._enter(talk)
        elif not self._request.test():
            return False
        elif self.bytes_under_way:
            self._take_bytes()
        else:
            self._take_counts()
        return True

    def _begin(self) -> None:
        if self._waiting:
            self._talk = self._waiting.popleft()
            self._working = [index for index, rank in enumerate(self._members) if rank in self._talk.sources]
            self._everyone_enters = False

    def _enter(self, talk: Talk) -> None:
        self._batch = [] if talk.failed else talk.next_batch()
        units = [block_units([message.size_bytes for message in messages]) for messages in self._batch] or [0] * len(self._members)
        total = sum(units)
        self._told, self._heard = np.empty((len(self._members), 3), np.int64), np.empty((len(self._members), 3), np.int64)
        self._told[:, 0], self._told[:, 1], self._told[:, 2] = units, talk.status, total
        self._request = self._group.alltoall(self._told, self._heard)
        if not self._everyone_enters:
            for index in self._to_be_told():
                self._owner.entered(self._number, self._round, self._members[index])
        talk.tally.rounds += 1
        if total:
            self._sending = self._owner.allocate(total * UNIT_BYTES)
            target = np.frombuffer(self._sending, np.uint8)
            start = 0
            for messages, count in zip(self._batch, units, strict=True):
                write_block(target[start : start + count * UNIT_BYTES], [message.payload for message in messages])
                start += count * UNIT_BYTES

    def _to_be_told(self) -> Iterator[int]:
        """Members that may not know of this round. Those that were through after the last one enter without being told."""
        if self._index not in self._working:
            return
        known = self._callers if self._called == self._round else ()
        count, here = len(self._working), self._working.index(self._index)
        stride = 1
        while stride < count:
            for distance in range(stride, min(stride * _REACH, count), stride):
                index = self._working[(here + distance) % count]
                if index not in known:
                    yield index
            stride *= _REACH

    def _take_counts(self) -> None:
        if not self._heard[:, 2].any():
            self._end_round()
            return
        units = self._heard[:, 0].tolist()
        self._receiving = self._owner.allocate(sum(units) * UNIT_BYTES) if any(units) else b""
        self._request = self._group.alltoallv(self._sending, self._told[:, 0].tolist(), self._receiving, units)
        self.bytes_under_way = True

    def _take_bytes(self) -> None:
        self.bytes_under_way = False
        self._request = None
        batch, self._batch = self._batch, []
        receiving, self._sending, self._receiving = self._receiving, b"", b""
        start = 0
        for rank, units in zip(self._members, self._heard[:, 0].tolist(), strict=True):
            if units:
                for message in read_block(receiving, start):
                    self._owner.delivered(rank, message)
            start += units * UNIT_BYTES
        for messages in batch:
            for sent in messages:
                self._owner.sent(sent)
        self._end_round()

    def _end_round(self) -> None:
        self._request = None
        self._batch = []
        self._round += 1
        self._callers = self._callers if self._called >= self._round else set()
        statuses = [Status(status) for status in self._heard[:, 1].tolist()]
        self._everyone_enters = Status.PRESSED in statuses
        self._working = [index for index, status in enumerate(statuses) if not status.over]
        if not self._working and self._talk is not None:
            talk, self._talk = self._talk, None
            self._owner.ended(talk)
