"""What ranks say to each other about exchanges by rounds; travels under the ROUNDS tag as little-endian i64.

LaneWanted    1, key, members, their number, sources ...                   a source to rank 0, when it opens the exchange
LaneGiven     2, key, lane, number of members, members, sources ...        rank 0 to the members; lane -1: none is left
RoundEntered  3, lane, round                                               to members that may have nothing to send
TalkOver      4, key                                                       a member to rank 0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcflow.comm.base import Buffer
from hpcflow.errors import HpcflowError

NO_LANE = -1


@dataclass(frozen=True, slots=True)
class LaneWanted:
    """A source wants to begin."""

    key: int
    members: tuple[int, ...]
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LaneGiven:
    """The members have a lane for this, when what it is used for now is over."""

    key: int
    lane: int
    members: tuple[int, ...]
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RoundEntered:
    """The sender has entered this round of the lane, and every member has to."""

    lane: int
    round: int


@dataclass(frozen=True, slots=True)
class TalkOver:
    """The sender says no more about this."""

    key: int


RoundMessage = LaneWanted | LaneGiven | RoundEntered | TalkOver


def encode_round_message(message: RoundMessage) -> bytes:
    """A message as bytes."""
    match message:
        case LaneWanted(key, members, sources):
            numbers = (1, key, NO_LANE, len(members), *members, *sources)
        case LaneGiven(key, lane, members, sources):
            numbers = (2, key, lane, len(members), *members, *sources)
        case RoundEntered(lane, round):
            numbers = (3, lane, round)
        case TalkOver(key):
            numbers = (4, key)
    return np.array(numbers, "<i8").tobytes()


def decode_round_message(buffer: Buffer) -> RoundMessage:
    """The message.

    Raises:
        HpcflowError: not one of these.
    """
    match np.frombuffer(buffer, "<i8").tolist():
        case [1, key, _, count, *ranks]:
            return LaneWanted(key, tuple(ranks[:count]), tuple(ranks[count:]))
        case [2, key, lane, count, *ranks]:
            return LaneGiven(key, lane, tuple(ranks[:count]), tuple(ranks[count:]))
        case [3, lane, round]:
            return RoundEntered(lane, round)
        case [4, key]:
            return TalkOver(key)
        case numbers:
            raise HpcflowError(f"a message about rounds begins with {numbers[:2]}: ranks run different versions of hpcflow")
