"""What ranks of one node say to each other about frames in shared memory; travels under the EXCHANGE tag.

Invariant: 48 bytes and n numbers; a message whose first four bytes are `HFXN` is one of these. All numbers are little-endian.

    0 magic "HFXN"   4 version u16   6 kind u16   8 step i64   16 stamp of the segment, 16 bytes   32 number of i64 that follow u64   40 zero u64
    segment offered   process, descriptor, bytes
    segment mapped
    frame in place    offset, bytes
    frames back       offsets
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from hpcflow.comm.base import Buffer
from hpcflow.errors import FrameError
from hpcflow.shuffle.segment import SegmentAddress

MAGIC: Final = b"HFXN"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sHHq16sQQ")
_OFFERED, _MAPPED, _IN_PLACE, _BACK = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class SegmentOffered:
    """The sender's segment may be mapped."""

    address: SegmentAddress


@dataclass(frozen=True, slots=True)
class SegmentMapped:
    """The sender has mapped the receiver's segment."""

    stamp: bytes


@dataclass(frozen=True, slots=True)
class FrameInPlace:
    """A frame of an exchange lies in the sender's segment."""

    step: int
    stamp: bytes
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FramesBack:
    """The sender reads these frames of the receiver's segment no more."""

    stamp: bytes
    offsets: tuple[int, ...]


NodeMessage = SegmentOffered | SegmentMapped | FrameInPlace | FramesBack


def encode_node_message(message: NodeMessage) -> bytes:
    """A message as bytes."""
    match message:
        case SegmentOffered(address):
            return _encode(_OFFERED, 0, address.stamp, address.process, address.descriptor, address.size_bytes)
        case SegmentMapped(stamp):
            return _encode(_MAPPED, 0, stamp)
        case FrameInPlace(step, stamp, offset, size_bytes):
            return _encode(_IN_PLACE, step, stamp, offset, size_bytes)
        case FramesBack(stamp, offsets):
            return _encode(_BACK, 0, stamp, *offsets)


def decode_node_message(buffer: Buffer) -> NodeMessage | None:
    """The message, or None for what has another magic.

    Raises:
        FrameError: not a whole message of this version.
    """
    view = memoryview(buffer).cast("B")
    if bytes(view[:4]) != MAGIC:
        return None
    _, version, kind, step, stamp, count, _ = _HEAD.unpack_from(view) if view.nbytes >= _HEAD.size else (b"", 0, 0, 0, b"", 0, 0)
    if version != _VERSION or view.nbytes != _HEAD.size + 8 * count:
        raise FrameError(
            f"a message about shared memory of version {version} and {view.nbytes} bytes: it was cut on the way, or ranks run two versions"
        )
    numbers = struct.unpack_from(f"<{count}q", view, _HEAD.size)
    if kind == _OFFERED and count == 3:
        return SegmentOffered(SegmentAddress(numbers[0], numbers[1], numbers[2], stamp))
    if kind == _MAPPED and count == 0:
        return SegmentMapped(stamp)
    if kind == _IN_PLACE and count == 2:
        return FrameInPlace(step, stamp, *numbers)
    if kind == _BACK:
        return FramesBack(stamp, numbers)
    raise FrameError(f"a message about shared memory has kind {kind} and {count} numbers: it is damaged")


def _encode(kind: int, step: int, stamp: bytes, *numbers: int) -> bytes:
    return _HEAD.pack(MAGIC, _VERSION, kind, step, stamp, len(numbers), 0) + struct.pack(f"<{len(numbers)}q", *numbers)
