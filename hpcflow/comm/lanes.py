"""What is on its way: sends per destination, receives per source. Used by the engine thread alone.

Invariant: messages of one destination start in the order in which they were queued, and messages of one source are delivered in the order in
which they were matched, though a small one may have arrived before the large one it follows. Each round gives every destination a turn, so that a
slow one holds up nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hpcflow.comm.base import Buffer, Comm, Incoming, ReceiveRequest, SendRequest

LANE_BYTES = 4 << 20
"""Bytes under way to one destination at a time, beyond the second message: one moves while the next is being matched."""
LANE_MESSAGES = 32
"""Messages under way to one destination at a time."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message given to `Engine.send`."""

    destination: int
    tag: int
    payload: Buffer
    size_bytes: int
    on_sent: Callable[[], None] | None


class _Lane:
    __slots__ = ("queued", "under_way", "under_way_bytes")

    def __init__(self) -> None:
        self.queued: deque[Outgoing] = deque()
        self.under_way: deque[tuple[SendRequest, Outgoing]] = deque()
        self.under_way_bytes = 0


class SendLanes:
    """All sends of a rank, one lane per destination that has any."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm
        self._lanes: dict[int, _Lane] = {}

    def queue(self, message: Outgoing) -> None:
        lane = self._lanes.get(message.destination)
        if lane is None:
            lane = self._lanes[message.destination] = _Lane()
        lane.queued.append(message)

    @property
    def busy(self) -> bool:
        """Whether anything is queued or under way."""
        return bool(self._lanes)

    def step(self) -> list[Outgoing]:
        """Complete and start what can be; returns the messages whose buffers are free again."""
        sent: list[Outgoing] = []
        empty: list[int] = []
        for destination, lane in self._lanes.items():
            while lane.under_way and lane.under_way[0][0].test():
                message = lane.under_way.popleft()[1]
                lane.under_way_bytes -= message.size_bytes
                sent.append(message)
            while lane.queued and len(lane.under_way) < LANE_MESSAGES:
                size_bytes = lane.queued[0].size_bytes
                if len(lane.under_way) > 1 and lane.under_way_bytes + size_bytes > LANE_BYTES:
                    break
                message = lane.queued.popleft()
                lane.under_way.append((self._comm.isend(message.payload, destination, message.tag), message))
                lane.under_way_bytes += size_bytes
            if not lane.under_way and not lane.queued:
                empty.append(destination)
        for destination in empty:
            del self._lanes[destination]
        return sent


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that is complete."""

    source: int
    tag: int
    buffer: Buffer


class ReceiveLanes:
    """All receives in progress of a rank, one lane per source that has any."""

    def __init__(self, allocate: Callable[[int], Buffer]) -> None:
        self._allocate = allocate
        self._lanes: dict[int, deque[tuple[ReceiveRequest, int, Buffer]]] = {}
        self.count = 0
        """Receives in progress."""

    def start(self, incoming: Incoming) -> None:
        buffer = self._allocate(incoming.size_bytes)
        lane = self._lanes.get(incoming.source)
        if lane is None:
            lane = self._lanes[incoming.source] = deque()
        lane.append((incoming.receive_into(buffer), incoming.tag, buffer))
        self.count += 1

    def step(self) -> list[Arrived]:
        """The messages that have become complete, in order per source."""
        arrived: list[Arrived] = []
        empty: list[int] = []
        for source, lane in self._lanes.items():
            while lane and lane[0][0].test():
                _, tag, buffer = lane.popleft()
                self.count -= 1
                arrived.append(Arrived(source, tag, buffer))
            if not lane:
                empty.append(source)
        for source in empty:
            del self._lanes[source]
        return arrived
