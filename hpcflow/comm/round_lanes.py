"""Which lane an exchange by rounds has: decided on rank 0, so that all members use the lanes in one order.

Invariant: a lane is given to one exchange of exactly its members at a time, and again once every member has said that the one before is over; lanes
are numbered in the order in which they are first given.

    lanes = RoundLanes()
    lanes.give(key=7, members=(0, 2))            # 0
    lanes.give(key=7, members=(0, 2))            # None: given already, to whoever asked first
    lanes.take_back(7, 0), lanes.take_back(7, 2)
"""

from __future__ import annotations

from hpcflow.comm.round_messages import NO_LANE

MOST_LANES = 256
"""Communicators that may be made: MPICH has about 2,000 for everybody in a process."""


class RoundLanes:
    """The lanes of all groups of ranks."""

    def __init__(self, most: int = MOST_LANES) -> None:
        self._most = most
        self._made = 0
        self._free: dict[tuple[int, ...], list[int]] = {}
        self._given: dict[int, tuple[int, tuple[int, ...], set[int]]] = {}  # key -> lane, members, those that are not through

    def give(self, key: int, members: tuple[int, ...]) -> int | None:
        """A lane for this exchange, NO_LANE when there is none; None when it has been given one."""
        if key in self._given:
            return None
        free = self._free.get(members)
        if free:
            lane = free.pop()
        elif self._made < self._most:
            lane, self._made = self._made, self._made + 1
        else:
            lane = NO_LANE
        self._given[key] = (lane, members, set(members))
        return lane

    def take_back(self, key: int, member: int) -> None:
        """This member is through with it."""
        lane, members, left = self._given[key]
        left.discard(member)
        if not left:
            del self._given[key]
            if lane != NO_LANE:
                self._free.setdefault(members, []).append(lane)
