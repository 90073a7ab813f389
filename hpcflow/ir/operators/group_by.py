"""Group-by in one partition: whole, or as partial aggregates that are merged and finished.

group_by            ->   partial_group_by  --hash shuffle-->  final_group_by       (pass combine_before_shuffle)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from hpcflow.expressions import reads_order
from hpcflow.ir.edge_needs import EdgeNeeds, all_rows_in_one_task, rows_that_meet
from hpcflow.ir.operators.base import Operator, TaskInfo, root_names
from hpcflow.ir.properties import EdgeProperties


@dataclass(frozen=True, eq=False)
class GroupBy(Operator):
    """Groups by `keys` (plain columns) and evaluates `aggregations`; all rows of a group are in the partition, in their original order."""

    keys: tuple[str, ...]
    aggregations: tuple[pl.Expr, ...]
    maintain_order: bool = False
    in_tasks: bool = False
    """Groups of each task by itself."""
    name = "group_by"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].group_by(self.keys, maintain_order=self.maintain_order).agg(self.aggregations)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (root_names(e for e in self.aggregations if e.meta.output_name() in needed) | set(self.keys),)

    def narrowed(self, needed: frozenset[str]) -> GroupBy:
        """The same groups with only the `needed` aggregations."""
        return replace(self, aggregations=tuple(e for e in self.aggregations if e.meta.output_name() in needed))

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        reads = not edges[index].ordered and any(reads_order(one, inputs[index]) for one in self.aggregations)
        return EdgeNeeds(reads_order=reads) if self.in_tasks else rows_that_meet(tuple(map(pl.col, self.keys)), reads)


@dataclass(frozen=True, eq=False)
class PartialGroupBy(Operator):
    """Partial aggregates of one partition, one row a group; no keys: one row in all."""

    keys: tuple[str, ...]
    partial: tuple[pl.Expr, ...]
    merge: tuple[pl.Expr, ...]
    """Merges rows of partials of the same group into one; used again when a worker combines the output of its tasks."""
    name = "partial_group_by"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        if not self.keys:
            return inputs[0].select(self.partial)
        return inputs[0].group_by(self.keys).agg(self.partial)

    def combine(self, partials: pl.LazyFrame) -> pl.LazyFrame:
        """Partials of several tasks, in task order, merged to one row a group."""
        if not self.keys:
            return partials.select(self.merge)
        return partials.group_by(self.keys).agg(self.merge)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (root_names(self.partial) | set(self.keys) or frozenset(list(inputs[0])[:1]),)


@dataclass(frozen=True, eq=False)
class FinalGroupBy(Operator):
    """Merges partials (in task order) and finishes them; no keys: one row, also of no partials."""

    keys: tuple[str, ...]
    merge: tuple[pl.Expr, ...]
    final: tuple[pl.Expr, ...]
    """One expression for each aggregation, over the merged columns."""
    name = "final_group_by"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        if not self.keys:
            return inputs[0].select(self.merge).select(self.final)
        merged = inputs[0].group_by(self.keys).agg(self.merge)
        return merged.select(*self.keys, *self.final)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return rows_that_meet(tuple(map(pl.col, self.keys))) if self.keys else all_rows_in_one_task(reads_order=False)
