"""Where to cut rows that come in groups: at group ends where one is near, inside a group where none is.

    cut_rows(np.array([10, 10, 10, 10]), 2)     # [(0, 20), (20, 40)]
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

_SNAP = 0.25
"""A cut moves to a group's end that is within this share of a split's length."""


def cut_rows(group_rows: np.ndarray[Any, np.dtype[np.int64]], parts: int) -> list[tuple[int, int]]:
    """About `parts` neighbouring row ranges (start, stop) of near equal length over groups of `group_rows` rows; (0, 0) when there are no rows."""
    ends = np.cumsum(group_rows)
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        return [(0, 0)]
    ideal = total * np.arange(1, parts) // parts
    after = np.minimum(np.searchsorted(ends, ideal), len(ends) - 1)
    below, above = np.where(after > 0, ends[after - 1], 0), ends[after]
    nearest = np.where(ideal - below <= above - ideal, below, above)
    cuts = np.where(np.abs(nearest - ideal) <= _SNAP * total / parts, nearest, ideal)
    bounds = np.unique(np.concatenate([[0], cuts, [total]])).tolist()
    return list(itertools.pairwise(bounds))
