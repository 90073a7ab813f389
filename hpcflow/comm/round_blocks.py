"""What one rank sends another in one round: a table of lengths, then the messages, each padded to 64 bytes.

block   0 number of messages u64   8 length of each in bytes u64 ...   padded to 64   message, padded   message, padded ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from hpcflow.comm.base import UNIT_BYTES, Buffer


def block_units(sizes: Sequence[int]) -> int:
    """Units of 64 bytes that a block of messages of these sizes takes; 0 without messages."""
    return _units(8 + 8 * len(sizes)) + sum(map(_units, sizes)) if sizes else 0


def write_block(target: npt.NDArray[np.uint8], messages: Sequence[Buffer]) -> None:
    """Copy the messages into a block of `block_units` of their sizes."""
    if not messages:
        return
    sizes = [memoryview(message).nbytes for message in messages]
    target[: 8 + 8 * len(sizes)] = np.array([len(sizes), *sizes], "<u8").view(np.uint8)
    start = _units(8 + 8 * len(sizes)) * UNIT_BYTES
    for message, size in zip(messages, sizes, strict=True):
        if size:  # NumPy's copy runs without the GIL
            np.copyto(target[start : start + size], np.frombuffer(message, np.uint8))
        start += _units(size) * UNIT_BYTES


def read_block(buffer: Buffer, start: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The messages of the block that starts at byte `start`, over the buffer's own memory, which they keep."""
    (count,) = np.frombuffer(buffer, "<u8", 1, start).tolist()
    sizes = np.frombuffer(buffer, "<u8", count, start + 8).tolist()
    start += _units(8 + 8 * count) * UNIT_BYTES
    for size in sizes:
        yield np.frombuffer(buffer, np.uint8, size, start)
        start += _units(size) * UNIT_BYTES


def _units(size_bytes: int) -> int:
    return -(-size_bytes // UNIT_BYTES)
