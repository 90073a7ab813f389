"""Exchanges by rounds of collective calls, for one rank: an engine's other way to move messages.

Invariant: what is sent to one member arrives there in order, and is handed to the engine's EXCHANGE handler as if it had come alone. Every member of
an exchange takes part in its rounds from the moment rank 0 names a lane for it, whether or not it has opened the exchange, until each source has
finished or failed. Nothing here waits for a task; making a communicator waits for the other engines, which are told of it in one order.

    tally = engine.rounds.open(step, members=(0, 1, 2), sources=(1, 2), most_bytes=16 << 20)        # a source
    engine.rounds.send(step, 2, frame, on_sent)
    engine.rounds.finish(step)                   # or fail(step)

    source            rank 0                      members
    LaneWanted -----> lane, LaneGiven ----------> communicator, rounds ... RoundEntered to each other ... TalkOver -----> rank 0
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from hpcflow.comm.base import EXCHANGE, ROUNDS, Buffer, Comm
from hpcflow.comm.lanes import Arrived, Outgoing
from hpcflow.comm.round_lane import RoundLane
from hpcflow.comm.round_lanes import MOST_LANES, RoundLanes
from hpcflow.comm.round_messages import (
    NO_LANE,
    LaneGiven,
    LaneWanted,
    RoundEntered,
    RoundMessage,
    TalkOver,
    decode_round_message,
    encode_round_message,
)
from hpcflow.comm.round_talk import RoundTally, Talk

_COORDINATOR: Final = 0


class _Announcement:
    """A lane that rank 0 has given; it takes part itself when all that it told have been sent the message, since making a communicator waits."""

    __slots__ = ("given", "unsent")

    def __init__(self, given: LaneGiven, unsent: int) -> None:
        self.given = given
        self.unsent = unsent


class Rounds:
    """All exchanges by rounds of a rank. `open`, `send`, `finish` and `fail` on any thread, the rest on the engine thread.

    Args:
        call: run a function on the engine thread.
        post: queue a message for another rank, or oneself.
        deliver: what has arrived, to its handler.
        sent: a message's buffer may be reused.
        allocate: size in bytes -> writable memory.
    """

    def __init__(
        self,
        call: Callable[[Callable[[], None]], None],
        post: Callable[[Outgoing], None],
        deliver: Callable[[Arrived], None],
        sent: Callable[[Outgoing], None],
        allocate: Callable[[int], Buffer],
        most_lanes: int = MOST_LANES,
    ) -> None:
        self.allocate = allocate
        self.sent = sent
        self.is_over: Callable[[int], bool] = lambda key: False
        """Whether this rank has left an exchange, or never opens it."""
        self._call = call
        self._post = post
        self._deliver = deliver
        self._stopping = self._silent = False
        self._ends: dict[int, RoundLane] = {}
        self._in_use: dict[int, RoundLane] = {}
        self._talks: dict[int, Talk] = {}
        self._entered_early: dict[int, list[tuple[int, int]]] = {}  # lane -> (rank, round), before this rank has the lane
        self.lanes = RoundLanes(most_lanes)
        self._announced: deque[_Announcement] = deque()

    # -- any thread ---------------------------------------------------------------------------------------------------------------------------------

    def open(self, key: int, members: tuple[int, ...], sources: tuple[int, ...], most_bytes: int) -> RoundTally:
        """Begin, on a source: `key` is the exchange's own number, the same everywhere; `most_bytes` bounds what this rank sends in a round."""
        tally = RoundTally()
        self._call(lambda: self._open(key, members, sources, most_bytes, tally))
        return tally

    def send(self, key: int, rank: int, message: Buffer, on_sent: Callable[[], None] | None) -> None:
        """Let `rank` have a message in one of the next rounds."""
        outgoing = Outgoing(rank, EXCHANGE, message, memoryview(message).nbytes, on_sent)
        self._call(lambda: self._queue(key, outgoing))

    def finish(self, key: int) -> None:
        """This source sends no more."""
        self._call(lambda: self._finish(key))

    def fail(self, key: int) -> None:
        """This rank gives up; without effect after `finish`: what is queued then still goes."""
        self._call(lambda: self._fail(key))

    # -- engine thread ------------------------------------------------------------------------------------------------------------------------------

    def attach(self, comm: Comm) -> None:
        """The communicator is open."""
        self._comm = comm

    def step(self) -> bool:
        """Go on with everything as far as it goes without waiting for a task; True when anything has happened."""
        moved = False
        while self._announced and not self._announced[0].unsent:
            self._join(self._announced.popleft().given)
            moved = True
        for number, lane in tuple(self._in_use.items()):
            moved = lane.step() or moved
            if not lane.in_use:
                del self._in_use[number]
        return moved

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._talks or self._in_use or self._announced)

    @property
    def bytes_under_way(self) -> bool:
        """Whether the members of a lane move bytes, all of them and now."""
        return any(lane.bytes_under_way for lane in self._in_use.values())

    @property
    def pressing(self) -> bool:
        """Whether bytes of this rank wait for others to enter a round."""
        return any(lane.pressing for lane in self._in_use.values())

    def stop(self) -> None:
        """The engine stops: what has not been finished has failed."""
        self._stopping = True
        for key in tuple(self._talks):
            self._fail(key)

    def be_silent(self) -> None:
        """The engine has said farewell: nobody has to be told anything any more."""
        self._silent = True

    def take(self, source: int, buffer: Buffer) -> None:
        """A message about rounds has arrived."""
        match decode_round_message(buffer):
            case LaneWanted(key, members, sources):
                self._give_lane(key, members, sources)
            case LaneGiven() as given:
                self._join(given)
            case RoundEntered(lane, round):
                if lane in self._ends:
                    self._ends[lane].call(source, round)
                else:
                    self._entered_early.setdefault(lane, []).append((source, round))
            case TalkOver(key):
                self.lanes.take_back(key, source)

    # what a lane tells its owner

    def delivered(self, source: int, message: Buffer) -> None:
        self._deliver(Arrived(source, EXCHANGE, message))

    def entered(self, lane: int, round: int, rank: int) -> None:
        if not self._silent:
            self._tell(rank, RoundEntered(lane, round))

    def ended(self, talk: Talk) -> None:
        self._talks.pop(talk.key, None)
        if not self._silent:
            self._tell(_COORDINATOR, TalkOver(talk.key))

    # requests of other threads

    def _open(self, key: int, members: tuple[int, ...], sources: tuple[int, ...], most_bytes: int, tally: RoundTally) -> None:
        talk = self._talks.get(key)
        if talk is None:
            talk = self._talks[key] = Talk(key, members, sources)
            self._tell(_COORDINATOR, LaneWanted(key, members, sources))
            if self._stopping:
                talk.fail()
        talk.opened = True
        talk.most_bytes = most_bytes
        talk.tally = tally

    def _queue(self, key: int, message: Outgoing) -> None:
        talk = self._talks.get(key)
        if talk is None or talk.failed:
            self._drop(message)
        elif talk.alone:
            self._post(message)
        else:
            talk.queue(message)

    def _finish(self, key: int) -> None:
        talk = self._talks.get(key)
        if talk is not None:
            talk.finishing = True
            self._end_if_alone(talk)

    def _fail(self, key: int) -> None:
        talk = self._talks.get(key)
        if talk is not None and not talk.finishing:
            for message in talk.fail():
                self._drop(message)
            self._end_if_alone(talk)

    def _fail_if_unopened(self, key: int) -> None:
        talk = self._talks.get(key)
        if talk is not None and not talk.opened:
            self._fail(key)

    def _drop(self, message: Outgoing) -> None:
        if message.on_sent is not None:
            message.on_sent()

    def _end_if_alone(self, talk: Talk) -> None:
        if talk.alone:
            self.ended(talk)

    # lanes

    def _give_lane(self, key: int, members: tuple[int, ...], sources: tuple[int, ...]) -> None:
        lane = self.lanes.give(key, members)
        if lane is None:
            return
        given = LaneGiven(key, lane, members, sources)
        others = [rank for rank in members if rank != self._comm.rank]
        announcement = _Announcement(given, len(others))

        def sent() -> None:
            announcement.unsent -= 1

        for rank in others:
            self._tell(rank, given, sent)
        if len(others) < len(members):
            self._announced.append(announcement)

    def _join(self, given: LaneGiven) -> None:
        """Take part in an exchange, opened here or not."""
        talk = self._talks.get(given.key)
        if talk is None:
            talk = self._talks[given.key] = Talk(given.key, given.members, given.sources)
            talk.finishing = self._comm.rank not in given.sources
            talk.failed = self._stopping and not talk.finishing
            if self.is_over(given.key):  # it may have been opened and finished before, in calls that wait for their turn
                self._call(lambda: self._fail_if_unopened(given.key))
        if given.lane == NO_LANE:
            talk.alone = True
            for message in talk.take_queued():
                self._post(message)
            if talk.finishing or talk.failed:
                self.ended(talk)
            return
        lane = self._ends.get(given.lane)
        if lane is None:
            group = self._comm.group(given.members, given.lane)
            lane = self._ends[given.lane] = RoundLane(given.lane, given.members, self._comm.rank, group, self)
            for rank, round in self._entered_early.pop(given.lane, []):
                lane.call(rank, round)
        lane.give_to(talk)
        self._in_use[given.lane] = lane

    def _tell(self, rank: int, message: RoundMessage, on_sent: Callable[[], None] | None = None) -> None:
        payload = encode_round_message(message)
        self._post(Outgoing(rank, ROUNDS, payload, len(payload), on_sent))
