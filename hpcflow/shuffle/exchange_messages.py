"""What travels under the EXCHANGE tag: plain frames as they are, end markers and compressed frames behind a 64-byte prefix.

Invariant: a message whose first four bytes are `HFXM` has the prefix below; any other is a frame of hpcflow.native. All numbers are little-endian.

    prefix  0 magic "HFXM"   4 version u16   6 kind u16 (1 end, 2 lz4, 3 zstd)   8 step i64   16 task i64   24 attempt i64   32 sequence i64
            40 first partition u32   44 partitions u32   48 bytes of the plain frame u64   56 number of i64 that follow u64
    end         n x (task, attempt, frames) i64: the committed attempts of the sender, with the frames that each has sent to the receiver
    compressed  partitions + 1 row offsets i64, then the compressed frame
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from hpcflow.comm.base import Buffer
from hpcflow.errors import FrameError
from hpcflow.native import partition_row_offsets, read_header
from hpcflow.shuffle.exchange_spec import Compression

_MAGIC: Final = b"HFXM"
_VERSION: Final = 1
_PREFIX: Final = struct.Struct("<4sHHqqqqIIQQ")
_END: Final = 1
_CODECS: Final[dict[Literal["lz4", "zstd"], tuple[int, str]]] = {"lz4": (2, "lz4_raw"), "zstd": (3, "zstd")}
_CODEC_OF_KIND: Final = dict(_CODECS.values())

assert _PREFIX.size == 64


@dataclass(frozen=True, slots=True)
class EndMarker:
    """One source has inserted everything."""

    step: int
    attempts: tuple[tuple[int, int, int], ...]
    """(task, attempt, frames sent to the receiver) of each committed attempt."""


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What the receiver keeps of a frame beside its bytes."""

    step: int
    task: int
    attempt: int
    sequence: int
    first_partition: int
    row_offsets: tuple[int, ...]
    """Partition `first_partition + i` has rows [row_offsets[i], row_offsets[i + 1])."""
    plain_bytes: int
    """Length of the frame, uncompressed."""
    compressed: bool

    @property
    def rows(self) -> int:
        return self.row_offsets[-1] - self.row_offsets[0]


def encode_end(step: int, attempts: Sequence[tuple[int, int, int]]) -> bytes:
    """An end marker as bytes."""
    numbers = np.array(attempts, dtype="<i8").reshape(-1, 3)
    return _PREFIX.pack(_MAGIC, _VERSION, _END, step, 0, 0, 0, 0, 0, 0, numbers.size) + numbers.tobytes()


def compress_frame(frame: Buffer, compression: Compression) -> Buffer:
    """The message for `frame`: itself for "none", or where compression does not make it smaller."""
    if compression == "none":
        return frame
    kind, codec = _CODECS[compression]
    header = read_header(frame)
    offsets = np.asarray(partition_row_offsets(frame), dtype="<i8")
    plain_bytes = memoryview(frame).nbytes
    body = pa.Codec(codec).compress(pa.py_buffer(frame))
    if body.size + offsets.nbytes + _PREFIX.size >= plain_bytes:
        return frame
    first, count = header.partitions
    prefix = _PREFIX.pack(
        _MAGIC, _VERSION, kind, header.step, header.source_task, header.attempt, header.sequence, first, count, plain_bytes, offsets.size
    )
    return b"".join((prefix, offsets.tobytes(), memoryview(body)))


def decompress_frame(message: Buffer) -> Buffer:
    """The plain frame of a compressed message, 64-byte aligned.

    Raises:
        FrameError: the message is damaged.
    """
    view = memoryview(message).cast("B")
    _, _, kind, step, *_, plain_bytes, numbers = _prefix(view)
    try:
        return pa.Codec(_CODEC_OF_KIND[kind]).decompress(pa.py_buffer(view[_PREFIX.size + 8 * numbers :]), plain_bytes)
    except (OSError, ValueError) as error:
        raise FrameError(
            f"a compressed frame of step {step} does not decompress ({error}): the bytes were damaged on the way or in scratch"
        ) from error


def decode(message: Buffer) -> EndMarker | FrameFacts:
    """Tell what a message is; validates it.

    Raises:
        FrameError: neither a frame nor a whole message of this version.
    """
    view = memoryview(message).cast("B")
    if bytes(view[:4]) != _MAGIC:
        header = read_header(message)
        offsets = tuple(partition_row_offsets(message).tolist())
        return FrameFacts(
            header.step, header.source_task, header.attempt, header.sequence, header.partitions[0], offsets, header.total_bytes, compressed=False
        )
    _, _, kind, step, task, attempt, sequence, first, partitions, plain_bytes, numbers = _prefix(view)
    if _PREFIX.size + 8 * numbers > view.nbytes:
        raise FrameError(f"an exchange message of step {step} is cut short: {view.nbytes} bytes for {numbers} numbers")
    values = np.frombuffer(view, "<i8", numbers, _PREFIX.size)
    if kind == _END:
        return EndMarker(step, tuple((int(a), int(b), int(c)) for a, b, c in values.reshape(-1, 3)))
    if kind not in _CODEC_OF_KIND or numbers != partitions + 1:
        raise FrameError(f"an exchange message of step {step} has kind {kind} and {numbers} numbers for {partitions} partitions: it is damaged")
    return FrameFacts(step, task, attempt, sequence, first, tuple(values.tolist()), plain_bytes, compressed=True)


def _prefix(view: memoryview) -> tuple[bytes, int, int, int, int, int, int, int, int, int, int]:
    if view.nbytes < _PREFIX.size:
        raise FrameError(f"an exchange message of {view.nbytes} bytes is shorter than its prefix: it was cut on the way")
    fields = _PREFIX.unpack_from(view)
    if fields[1] != _VERSION:
        raise FrameError(f"an exchange message of version {fields[1]}, this is version {_VERSION}: run the same hpcflow on all ranks")
    return fields
