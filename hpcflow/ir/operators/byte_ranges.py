"""Where to cut text files: nominal cuts by size, moved to the next start of a row.

cut_files(("a.csv", "b.csv"), (100, 300), 4, next_row_start)     # 4 splits of about 100 bytes: pieces of files
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hpcflow.errors import SourceError
from hpcflow.ir.operators.paths import is_remote
from hpcflow.ir.operators.row_ranges import cut_rows

_MAGIC = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""First bytes of gzip, zstd and zlib: what Polars decompresses while it reads."""


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `stop` of a file, which begin and end at a row; `stop` is None for a file that is read whole."""

    path: str
    start: int
    stop: int | None
    size: int
    """Bytes of the piece as stored."""


def file_size(path: str) -> int:
    """Bytes of a local file; 1 for a remote one, whose size is not asked for. SourceError when it cannot be read."""
    if is_remote(path):
        return 1
    try:
        with open(path, "rb"):
            return os.path.getsize(path)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


def is_divisible(path: str) -> bool:
    """Whether parts of the file can be read: it is local and not compressed."""
    if is_remote(path):
        return False
    with open(path, "rb") as file:
        return not file.read(4).startswith(_MAGIC)


def cut_files(
    files: Sequence[str], sizes: Sequence[int], parts: int, next_row_starts: Callable[[str, list[int]], list[int]]
) -> list[tuple[Piece, ...]]:
    """About `parts` runs of pieces of near equal size, in order; one without pieces when there are no files.

    `next_row_starts(path, offsets)` moves ascending offsets of one file forward to where a row starts (or to the file's end).
    """
    ends = np.cumsum(sizes)
    starts = ends - sizes
    bounds = np.array([low for low, _ in cut_rows(np.array(sizes, dtype=np.int64), parts)][1:], dtype=np.int64)
    splits: list[list[Piece]] = [[]]
    for path, begin, end, size in zip(files, starts.tolist(), ends.tolist(), sizes, strict=True):
        at_begin = bool(np.isin(begin, bounds))
        if at_begin and any(piece.size for piece in splits[-1]):
            splits.append([])
        inside = bounds[(bounds > begin) & (bounds < end)] - begin
        found = next_row_starts(path, inside.tolist()) if len(inside) and is_divisible(path) else []
        moved = sorted({offset for offset in found if 0 < offset < size})
        if not moved:
            splits[-1].append(Piece(path, 0, None, size))
            continue
        edges = [0, *moved, size]
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            if number:
                splits.append([])
            splits[-1].append(Piece(path, start, stop, stop - start))
    return [tuple(split) for split in splits]


def read_range(path: str, start: int, stop: int, before: bytes = b"") -> bytes:
    """`before` and then bytes of a local file, read into one buffer. SourceError when there are fewer, or the file cannot be read on this host."""
    length = len(before) + stop - start
    buffer = io.BytesIO()
    if length:
        buffer.seek(length - 1)
        buffer.write(b"\0")
    try:
        with open(path, "rb", buffering=0) as file, buffer.getbuffer() as view:
            view[: len(before)] = before
            file.seek(start)
            filled = len(before)
            while filled < length and (count := file.readinto(view[filled:])):
                filled += count
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}; is it on a file system that all nodes share?") from error
    if filled != length:
        raise SourceError(f"{path} was cut short while it was read: bytes {start} to {stop} are not all there")
    return buffer.getvalue()  # the buffer itself, not a copy
