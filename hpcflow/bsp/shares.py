"""Which splits of a source each rank reads.

Invariant: shares are runs of neighbouring splits in rank order, so the ranks' rows, concatenated, are the source's rows in their order; every split
is in exactly one share; ranks without a split get an empty share.

    >>> deal_splits([10, 10, 10, 10], 2), deal_splits([1, 1, 8], 2), deal_splits([5], 3)
    ([(0, 2), (2, 4)], [(0, 2), (2, 3)], [(0, 0), (0, 1), (1, 1)])
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hpcflow.ir.operators.source import Split, SplitHint

WHOLE = 1 << 62


def hint_for(size: int) -> SplitHint:
    """One split a rank, whatever its size."""
    return SplitHint(target_tasks=size, target_bytes=WHOLE)


def deal_splits(weights: Sequence[float], size: int) -> list[tuple[int, int]]:
    """`size` neighbouring runs (start, stop) over splits of these weights: a split goes to the rank in whose share its middle lies."""
    if len(weights) == size:
        return [(index, index + 1) for index in range(size)]
    total = sum(weights)
    if total <= 0:
        weights, total = [1.0] * len(weights), len(weights)
    ends = list(itertools.accumulate(weights))
    ranks = [min(size - 1, int((end - weight / 2) * size / total)) for end, weight in zip(ends, weights, strict=True)]
    starts = [sum(rank < one for rank in ranks) for one in range(size + 1)]
    return list(itertools.pairwise(starts))


def weight_of(split: Split) -> float:
    """Rows where they are known, else bytes; 1 where nothing is known."""
    return float(split.rows if split.rows is not None else split.bytes if split.bytes is not None else 1)
