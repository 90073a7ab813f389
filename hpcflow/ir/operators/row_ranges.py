"""Where to cut rows that come in groups: at group ends where one is near, inside a group where none is.

cut_rows(np.array([10, 10, 10, 10]), 2)     # [(0, 20), (20, 40)]
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_SNAP = 0.25
"""A cut moves to a group's end that is within this share of a split's length."""


def cut_rows(group_rows: Counts, parts: int, halved: int = 0) -> list[tuple[int, int]]:
    """About `parts` neighbouring row ranges (start, stop) of near equal length over groups of `group_rows` rows; (0, 0) when there are no rows.

    The last `halved` of them are cut in two.
    """
    halved = min(halved, parts)
    ends = np.cumsum(group_rows)
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        return [(0, 0)]
    lengths = np.repeat([2, 1], [parts - halved, 2 * halved])
    ideal = total * np.cumsum(lengths)[:-1] // (2 * parts)
    after = np.minimum(np.searchsorted(ends, ideal), len(ends) - 1)
    below, above = np.where(after > 0, ends[after - 1], 0), ends[after]
    nearest = np.where(ideal - below <= above - ideal, below, above)
    cuts = np.where(np.abs(nearest - ideal) <= _SNAP * total * lengths[:-1] / (2 * parts), nearest, ideal)
    bounds = np.unique(np.concatenate([[0], cuts, [total]])).tolist()
    return list(itertools.pairwise(bounds))


def cut_window(group_rows: Counts, window: tuple[int, int], parts: int) -> list[tuple[int, int]]:
    """`cut_rows` of rows window[0] to window[1] alone: ranges of positions among all rows."""
    start, stop = window
    ends = np.clip(np.cumsum(group_rows), start, max(start, stop))
    return [(start + low, start + high) for low, high in cut_rows(np.diff(ends, prepend=start), parts)]


@dataclass(frozen=True)
class RowRun:
    """Rows `offset` to `offset + rows` of these files taken as one."""

    files: tuple[str, ...]
    offset: int
    rows: int
    whole: bool
    """The run is all rows of its files."""


class FileLayout:
    """Where rows lie in files that store them in groups (row groups, record batches).

    `group_file`: int64[groups], the file of each group; `group_rows`: rows of each; `kept`: the same, 0 for groups that are left out.
    """

    def __init__(self, files: tuple[str, ...], group_file: Counts, group_rows: Counts, kept: Counts) -> None:
        self.files = files
        self.kept = kept
        self.kept_ends = np.cumsum(kept)
        offsets = np.concatenate([[0], np.cumsum(group_rows)])
        self.group_starts = offsets[:-1]  # position of each row group's first row in all files taken as one
        self.file_starts = offsets[np.searchsorted(group_file, np.arange(len(files) + 1))]

    def runs(self, low: int, high: int) -> tuple[RowRun, ...]:
        """Kept rows low..high as runs of the files. A group that is left out ends a run; neighbouring files share one, so many are one scan."""
        first = int(np.searchsorted(self.kept_ends, low, side="right"))
        last = int(np.searchsorted(self.kept_ends, high, side="left")) if high > low else first - 1
        groups = np.arange(first, last + 1)
        groups = groups[self.kept[groups] > 0]
        before = self.kept_ends[groups] - self.kept[groups]
        starts = (np.maximum(low, before) - before + self.group_starts[groups]).tolist()
        stops = (np.minimum(high, self.kept_ends[groups]) - before + self.group_starts[groups]).tolist()
        merged: list[tuple[int, int]] = []
        for start, stop in zip(starts, stops, strict=True):
            if merged and merged[-1][1] == start:
                merged[-1] = (merged[-1][0], stop)
            else:
                merged.append((start, stop))
        return tuple(self._run(start, stop) for start, stop in merged)

    def _run(self, start: int, stop: int) -> RowRun:
        first = int(np.searchsorted(self.file_starts, start, side="right")) - 1
        last = int(np.searchsorted(self.file_starts, stop, side="left"))
        base = int(self.file_starts[first])
        return RowRun(self.files[first:last], start - base, stop - start, start == base and stop == int(self.file_starts[last]))
