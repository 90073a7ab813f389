"""Operators that know the global position of each row: row index, sample."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.edge_needs import EdgeNeeds, rows_in_place
from hpcflow.ir.operators.base import Operator, TaskInfo
from hpcflow.ir.properties import EdgeProperties


@dataclass(frozen=True, eq=False)
class WithRowIndex(Operator):
    """Add the global row number as first column."""

    column: str = "index"
    offset: int = 0
    name = "with_row_index"
    needs_positions = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        assert task.position_start is not None
        return inputs[0].with_row_index(self.column, self.offset + task.position_start)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return rows_in_place("it counts the rows where they are")


@dataclass(frozen=True, eq=False)
class WithSampleHash(Operator):
    """Add column `column`: a 64-bit hash of (seed, global row position), on which sampling decides."""

    column: str
    seed: int
    name = "sample_hash"
    needs_positions = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        assert task.position_start is not None
        position = pl.int_range(task.position_start, pl.len() + task.position_start, dtype=pl.Int64)
        return inputs[0].with_columns(_mix(position, self.seed).alias(self.column))

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return rows_in_place("it counts the rows where they are")


@dataclass(frozen=True, eq=False)
class WithShare(Operator):
    """Add column `column`: which of `shares` equal runs of rows (to within one) the row's global position falls to."""

    column: str
    shares: int
    name = "with_share"
    needs_positions = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        assert task.position_start is not None and task.total_rows is not None
        position = pl.int_range(task.position_start, pl.len() + task.position_start, dtype=pl.Int64)
        return inputs[0].with_columns((position * self.shares // max(1, task.total_rows)).alias(self.column))

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return rows_in_place("it counts the rows where they are")


def _mix(position: pl.Expr, seed: int) -> pl.Expr:
    """splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014) of position + seed, as UInt64 arithmetic of Polars
    (which wraps)."""
    z = position.cast(pl.UInt64) + pl.lit((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64, dtype=pl.UInt64)
    z = (z ^ (z // pl.lit(2**30, dtype=pl.UInt64))) * pl.lit(0xBF58476D1CE4E5B9, dtype=pl.UInt64)
    z = (z ^ (z // pl.lit(2**27, dtype=pl.UInt64))) * pl.lit(0x94D049BB133111EB, dtype=pl.UInt64)
    return z ^ (z // pl.lit(2**31, dtype=pl.UInt64))
