"""Union of inputs, repartitioning and caching: operators that leave rows alone and are about where these are."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.edge_needs import EdgeNeeds, all_rows_in_one_task
from hpcflow.ir.operators.base import Operator, TaskInfo
from hpcflow.ir.properties import EdgeProperties


@dataclass(frozen=True, eq=False)
class Concat(Operator):
    """The tasks of input 0, then those of input 1, ...; in one task exactly one input is there."""

    how: str = "vertical"
    inputs_count: int = 2
    name = "concat"

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        return pl.concat([pl.LazyFrame(schema=schema) for schema in inputs], how=self.how).collect_schema()  # type: ignore[arg-type]

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        (only,) = inputs
        return only


@dataclass(frozen=True, eq=False)
class Align(Operator):
    """Bring one input of a concat to the common schema: cast, add missing columns as nulls, order."""

    schema: pl.Schema
    name = "align"
    row_wise = True

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        return self.schema

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        have = inputs[0].collect_schema()
        changes = [
            pl.col(name).cast(dtype) if name in have else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in self.schema.items()
            if have.get(name) != dtype
        ]
        return inputs[0].with_columns(changes).select(self.schema.names())


@dataclass(frozen=True, eq=False)
class Repartition(Operator):
    """Rows as they are; the input edge says where they go."""

    name = "repartition"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0]

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed or frozenset(list(inputs[0])[:1]),)


@dataclass(frozen=True, eq=False)
class Cache(Operator):
    """Rows as they are, kept on the workers under `key` until unpersisted."""

    key: str
    name = "cache"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0]


@dataclass(frozen=True, eq=False)
class ReadCache(Operator):
    """Blocks that an earlier action left on the workers under `key`.

    blocks: (start, stop), which of them in the dataset's order; None: all
    """

    key: str
    blocks: tuple[int, int] | None = None
    name = "read_cache"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Collect(Operator):
    """All rows, in order, to the driver."""

    name = "collect"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0]

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return all_rows_in_one_task()


@dataclass(frozen=True, eq=False)
class Keep(Operator):
    """The end of an action that only fills a cache or counts: rows stay where they are, their number is known."""

    name = "keep"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0]
