"""Rounds where the exchange's contract suite does not look: who is told of a round, which lane is given, what a block is, and no lane left."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.comm.base import EXCHANGE, UNIT_BYTES
from hpcflow.comm.round_blocks import block_units, read_block, write_block
from hpcflow.comm.round_lane import RoundLane
from hpcflow.comm.round_lanes import RoundLanes
from hpcflow.comm.round_messages import NO_LANE, LaneGiven, LaneWanted, RoundEntered, TalkOver, decode_round_message, encode_round_message
from hpcflow.comm.round_talk import Talk
from hpcflow.errors import HpcflowError
from hpcflow.testing.run import run_local


class NeverGroup:
    """A group whose calls are never over."""

    def alltoall(self, send, receive):
        return self

    def test(self):
        return False


class World:
    """Lanes of one exchange, and who was told by whom that a round was entered."""

    def __init__(self, size):
        members = tuple(range(size))
        self.told = []
        self.lanes = [RoundLane(0, members, rank, NeverGroup(), Owner(self, rank)) for rank in members]
        for lane in self.lanes:
            lane.give_to(Talk(1, members, members))
        self.lanes[0]._begin()

    def enter(self, rank):
        """`rank` has bytes for its neighbour, and all who are told enter too, until nobody is."""
        lane = self.lanes[rank]
        lane._begin()
        lane._enter(lane._talk)
        while self.told:
            source, target, round = self.told.pop(0)
            self.lanes[target].call(source, round)
            self.lanes[target].step()


class Owner:
    def __init__(self, world, rank):
        self.world, self.rank = world, rank

    def entered(self, lane, round, rank):
        self.world.told.append((self.rank, rank, round))
        self.world.most = max(getattr(self.world, "most", 0), sum(source == self.rank for source, _, _ in self.world.told))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 200])
def test_all_members_hear_of_a_round_from_few_others(size):
    world = World(size)
    world.enter(size // 3)
    assert all(lane._request is not None for lane in world.lanes)
    assert getattr(world, "most", 0) <= 12


def test_a_lane_is_given_once_and_again_when_all_members_are_through():
    lanes = RoundLanes(most=2)
    assert lanes.give(7, (0, 2)) == 0
    assert lanes.give(7, (0, 2)) is None
    assert lanes.give(8, (0, 2)) == 1
    assert lanes.give(9, (0, 1, 2)) == NO_LANE
    lanes.take_back(7, 0)
    assert lanes.give(10, (0, 2)) == NO_LANE
    lanes.take_back(7, 2)
    assert lanes.give(11, (0, 2)) == 0


@given(st.lists(st.binary(max_size=200), max_size=12), st.integers(0, 3))
def test_the_messages_of_a_block_are_read_back_where_they_lie(messages, before):
    units = block_units([len(message) for message in messages])
    assert (units == 0) == (not messages)
    whole = np.zeros((before + units) * UNIT_BYTES, np.uint8)
    write_block(whole[before * UNIT_BYTES :], messages)
    if messages:
        found = list(read_block(whole, before * UNIT_BYTES))
        assert [bytes(message) for message in found] == messages
        assert all((message.ctypes.data - whole.ctypes.data) % UNIT_BYTES == 0 for message in found)


@pytest.mark.parametrize(
    "message",
    [LaneWanted(7, (0, 1, 2), (1,)), LaneGiven(7, NO_LANE, (0, 1), (0, 1)), LaneGiven(1 << 40, 3, (2, 5), ()), RoundEntered(3, 9), TalkOver(5)],
)
def test_messages_are_read_back(message):
    assert decode_round_message(encode_round_message(message)) == message


def test_a_foreign_message_is_refused():
    with pytest.raises(HpcflowError, match="different versions"):
        decode_round_message(np.array([99, 1], "<i8").tobytes())


@pytest.mark.parametrize("workers", [2, 3])
def test_without_a_lane_messages_go_one_by_one(workers):
    def job(engine):
        engine.call(lambda: setattr(engine.rounds, "lanes", RoundLanes(most=1)))
        got, sent = [], []
        done = threading.Semaphore(0)
        engine.subscribe(EXCHANGE, lambda source, buffer: (got.append((source, bytes(buffer))), done.release()))
        ranks = tuple(range(engine.size))
        tallies = [engine.rounds.open(key, ranks, ranks, 1 << 20) for key in (1, 2, 3)]
        for key in (1, 2, 3):
            for rank in ranks:
                if rank != engine.rank:
                    engine.rounds.send(key, rank, b"%d" % key, lambda: sent.append(1))
        for _ in range(3 * (engine.size - 1)):
            assert done.acquire(timeout=20)
        for key in (1, 2, 3):
            engine.rounds.finish(key)
        assert sorted(got) == [(rank, b"%d" % key) for rank in ranks if rank != engine.rank for key in (1, 2, 3)]
        return sum(tally.rounds > 0 for tally in tallies)

    assert run_local(job, workers) == [1] * workers
