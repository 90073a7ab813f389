"""Partitioners: which partition each row of a table goes to.

Invariant: `partition_ids` is a pure function of the rows and their global positions, so a row goes to the same partition whichever task attempt or
worker asks; every id is below `partitions`.

    HashPartitioner(("k",), 4).partition_ids(pl.DataFrame({"k": [1, 2, 1]}), 0)     # uint32[3]; rows 0 and 2 alike
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from hpcflow.native import hash_partition_ids, range_partition_ids
from hpcflow.shuffle.key_tables import key_table, sort_key_table
from hpcflow.shuffle.numba_partitioner import NumbaPartitioner
from hpcflow.shuffle.splitters import choose_splitters, sample_keys
from hpcflow.shuffle.user_ids import Ids, checked_ids

__all__ = [
    "HashPartitioner",
    "NumbaPartitioner",
    "Partitioner",
    "RangePartitioner",
    "RoundRobinPartitioner",
    "SharePartitioner",
    "SinglePartitioner",
    "UserPartitioner",
    "choose_splitters",
    "sample_keys",
]

TASK_POSITION_BITS = 40
"""Where the rows before a task are not counted, a row's position is (task << 40) | row: at most 2**40 rows a task."""


class Partitioner(Protocol):
    """Gives each row of a table its partition."""

    partitions: int

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        """uint32[n]: partition of each row; `position_start` is the global position of the first."""
        ...


class HashPartitioner:
    """Equal keys meet. Callers cast key columns that shall meet to one dtype beforehand."""

    def __init__(self, keys: Sequence[str | pl.Expr], partitions: int, seed: int = 0) -> None:
        self.keys = list(keys)
        self.partitions = partitions
        self.seed = seed

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        ids: Ids = hash_partition_ids(key_table(df, self.keys), self.partitions, self.seed)
        return ids


class RangePartitioner:
    """Partitions are neighbouring ranges of a sort order; ties are broken by global position, so one hot key spreads over neighbours.

    `splitters` holds up to `partitions - 1` rows of the columns `by` in sort order, `splitter_positions` their positions (uint64).
    """

    def __init__(
        self,
        by: Sequence[str | pl.Expr],
        splitters: pl.DataFrame,
        splitter_positions: npt.NDArray[np.uint64],
        *,
        descending: Sequence[bool],
        nulls_last: Sequence[bool],
    ) -> None:
        self.by = list(by)
        self.splitters = pl.DataFrame({str(i): column for i, column in enumerate(splitters.get_columns())})
        self.splitter_positions = splitter_positions
        self.descending = list(descending)
        self.nulls_last = list(nulls_last)
        self.partitions = splitters.height + 1

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        keys = sort_key_table(df, self.by)
        ids: Ids = range_partition_ids(keys, self.splitters, self.descending, self.nulls_last, position_start, self.splitter_positions)
        return ids


class RoundRobinPartitioner:
    """Rows are dealt out one after another by global position: even to within a row per task, and the same whoever runs the task."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        first = (position_start + (position_start >> TASK_POSITION_BITS)) % self.partitions
        cycle = (np.arange(self.partitions, dtype=np.uint32) + np.uint32(first)) % np.uint32(self.partitions)
        return np.resize(cycle, df.height)


class SharePartitioner:
    """Contiguous runs of rows: partition i has the rows at positions from bounds[i - 1] on, below bounds[i]. Positions count rows, without gaps."""

    def __init__(self, bounds: Sequence[int]) -> None:
        self.bounds = np.array(bounds, dtype=np.int64)
        self.partitions = len(bounds) + 1

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        cuts = np.clip(self.bounds - position_start, 0, df.height)
        sizes = np.diff(cuts, prepend=0, append=df.height)
        return np.repeat(np.arange(self.partitions, dtype=np.uint32), sizes)


class SinglePartitioner:
    """All rows go to partition 0."""

    partitions = 1

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        return np.zeros(df.height, dtype=np.uint32)


class UserPartitioner:
    """A Python function on the table, `f(df) -> n integers`, checked before they are used."""

    def __init__(self, function: Callable[[pl.DataFrame], Any], partitions: int) -> None:
        self.function = function
        self.partitions = partitions

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        """SchemaError when the function returns anything but `df.height` integers in [0, partitions)."""
        return checked_ids(self.function(df), df.height, self.partitions, getattr(self.function, "__name__", "the function"))
