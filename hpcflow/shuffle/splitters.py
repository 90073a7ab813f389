"""Splitters of a sort order from samples of its keys: each task samples, the master chooses.

Invariant: both steps are pure functions of their arguments; splitters are in sort order, ties in the order of position, as the range partitioner
compares them. With samples of together s rows a partition is about sqrt(partitions / s) off its even share.

    sample = sample_keys(df, ["k"], 1000, position_start=0, seed=task)
    splitters, positions = choose_splitters([sample], 4, [False], [False])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Sample = tuple[pl.DataFrame, npt.NDArray[np.uint64], float]
"""Keys of the sampled rows, their global positions, and how many rows each stands for."""

_POSITION = "\0position"
_WEIGHT = "\0weight"


def sample_keys(df: pl.DataFrame, by: Sequence[str | pl.Expr], count: int, position_start: int, seed: int) -> Sample:
    """The keys `by` of at most `count` rows: one row drawn from each of `count` equal stretches, so that sorted input is sampled evenly too."""
    rows = df.height
    keys = df.select(by)
    if rows <= count:
        chosen = np.arange(rows)
    else:
        bounds = rows * np.arange(count + 1, dtype=np.int64) // count
        chosen = np.random.default_rng([seed, rows]).integers(bounds[:-1], bounds[1:])
        keys = keys[chosen]
    positions = np.uint64(position_start) + chosen.astype(np.uint64)
    return keys, positions, rows / max(1, len(chosen))


def choose_splitters(
    samples: Sequence[Sample], partitions: int, descending: Sequence[bool], nulls_last: Sequence[bool]
) -> tuple[pl.DataFrame, npt.NDArray[np.uint64]]:
    """`partitions - 1` rows in sort order that cut the weighted samples evenly, and their positions; none of them when there are no sampled rows.

    `samples` is not empty; its frames have one schema.
    """
    frames = [
        keys.with_columns(pl.Series(_POSITION, positions, dtype=pl.UInt64), pl.Series(_WEIGHT, np.full(keys.height, weight)))
        for keys, positions, weight in samples
    ]
    names = samples[0][0].columns
    ordered = pl.concat(frames).sort([*names, _POSITION], descending=[*descending, False], nulls_last=[*nulls_last, False])
    if ordered.height == 0 or partitions <= 1:
        return ordered.select(names).clear(), np.zeros(0, dtype=np.uint64)
    weights = ordered[_WEIGHT].to_numpy()
    before = np.concatenate([[0.0], np.cumsum(weights)])  # rows in front of each sampled row
    wanted = before[-1] * np.arange(1, partitions) / partitions
    chosen = np.minimum(np.searchsorted((before[:-1] + before[1:]) / 2, wanted), ordered.height - 1)
    return ordered.select(names)[chosen], ordered[_POSITION].to_numpy()[chosen]
