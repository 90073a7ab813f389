"""A dataset in batches: which of its kept blocks to fetch together, and rows cut anew.

Invariant: every block is fetched once, in order; the driver holds no more than one run of blocks (`RUN_BYTES`, or one block that is larger) and one
batch.

    >>> block_runs([(10, 80), (10, 80), (30, 240)], rows=15)
    [(0, 2), (2, 3)]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

RUN_BYTES = 64 << 20


def block_runs(blocks: Sequence[tuple[int, int]], rows: int) -> list[tuple[int, int]]:
    """Runs [start, stop) of blocks, each given as (rows, bytes): as few as give `rows` rows, in at most RUN_BYTES; empty blocks cost nothing."""
    runs: list[tuple[int, int]] = []
    start = held = size = 0
    for stop, (height, size_bytes) in enumerate(blocks, start=1):
        if held and size + size_bytes > RUN_BYTES:
            runs.append((start, stop - 1))
            start, held, size = stop - 1, 0, 0
        held, size = held + height, size + size_bytes
        if held >= rows:
            runs.append((start, stop))
            start, held, size = stop, 0, 0
    return [*runs, (start, len(blocks))] if held else runs


def in_batches(parts: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The rows of `parts`, in order, in frames of `rows` rows; the last may have fewer."""
    rest: pl.DataFrame | None = None
    for part in parts:
        whole = part if rest is None or not rest.height else pl.concat([rest, part])
        full = whole.height // rows * rows
        yield from (whole.slice(start, rows) for start in range(0, full, rows))
        rest = whole.slice(full)
    if rest is not None and rest.height:
        yield rest
