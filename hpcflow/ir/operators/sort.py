"""Global order: sort one range partition, take the first rows, take the largest."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.edge_needs import EdgeNeeds, all_rows_in_one_task, rows_in_place
from hpcflow.ir.operators.base import Operator, TaskInfo, root_names
from hpcflow.ir.properties import EdgeProperties, Pattern, SortKey


@dataclass(frozen=True, eq=False)
class Sort(Operator):
    """Stable sort of one partition; the partitions are ranges of the same order."""

    order: tuple[SortKey, ...]
    name = "sort"
    gathers_rows = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].sort(
            [key.expression for key in self.order],
            descending=[key.descending for key in self.order],
            nulls_last=[key.nulls_last for key in self.order],
            maintain_order=True,
        )

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed | root_names(key.expression for key in self.order),)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        patterns = (Pattern.RANGE_SHUFFLE, Pattern.GATHER)
        return EdgeNeeds(patterns, "tasks have to be ranges of the order, in which equal rows stay in theirs", order=self.order, reads_order=True)

    def describe(self) -> str:
        return ", ".join(
            f"{' '.join(str(k.expression).split())}{' desc' if k.descending else ''}{' nulls last' if k.nulls_last else ''}" for k in self.order
        )

    def fingerprint(self) -> object:
        from hpcflow.ir.operators.base import fingerprint_of

        return (Sort, *((fingerprint_of(k.expression), k.descending, k.nulls_last) for k in self.order))


@dataclass(frozen=True, eq=False)
class TopK(Operator):
    """The `k` largest (or smallest) rows of a partition by `by`."""

    k: int
    by: tuple[pl.Expr, ...]
    reverse: tuple[bool, ...]
    largest: bool = True
    partial: bool = False
    """Of each task by itself: another one behind it sees what is left of all of them."""
    name = "top_k"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        method = inputs[0].top_k if self.largest else inputs[0].bottom_k
        return method(self.k, by=list(self.by), reverse=list(self.reverse))

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed | root_names(self.by),)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return EdgeNeeds() if self.partial else all_rows_in_one_task(reads_order=False)


@dataclass(frozen=True, eq=False)
class Slice(Operator):
    """`length` rows from `offset` on (None: to the end), of one partition."""

    offset: int
    length: int | None
    partial: bool = False
    """Of each task by itself: another one behind it sees what is left of all of them."""
    name = "slice"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].slice(self.offset, self.length)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed or frozenset(list(inputs[0])[:1]),)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return EdgeNeeds(reads_order=True) if self.partial else all_rows_in_one_task()


@dataclass(frozen=True, eq=False)
class SlicePositions(Operator):
    """Rows whose global position is in [offset, offset + length); a negative offset counts from the end."""

    offset: int
    length: int | None
    name = "slice"
    needs_positions = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        assert task.position_start is not None and task.total_rows is not None
        start = self.offset if self.offset >= 0 else task.total_rows + self.offset
        stop = task.total_rows if self.length is None else start + self.length
        first = max(start, 0) - task.position_start
        last = stop - task.position_start
        return inputs[0].slice(max(first, 0), max(last - max(first, 0), 0))

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed or frozenset(list(inputs[0])[:1]),)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return rows_in_place("it counts the rows where they are")
