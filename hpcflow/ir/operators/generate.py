"""A source of a task graph: each task's rows come from a user's function, called on the worker.

Invariant: there are `parallelism` splits, whatever the hint, and split i has what `function(GraphTask(title, i, parallelism))` gives: a table,
or any number of them from a generator.

    Generate.of("numbers", lambda task: pl.DataFrame({"n": [task.index]}), {"n": pl.Int64}, parallelism=3)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import polars as pl

from hpcflow.ir.operators.base import brief
from hpcflow.ir.operators.source import Source, SourceStatistics, Split, SplitHint
from hpcflow.ir.operators.task_function import GraphTask, put_together


@dataclass(frozen=True, eq=False)
class Generate(Source):
    """`function(task) -> table or generator of tables`, once a task."""

    title: str
    function: Callable[[GraphTask], Any]
    parallelism: int
    declared: pl.Schema
    """What the function gives; `schema` has the columns that are needed of it."""
    runs_user_code = True

    @classmethod
    def of(cls, title: str, function: Callable[[GraphTask], Any], schema: Mapping[str, Any], parallelism: int) -> Self:
        """A source of `parallelism` tasks."""
        declared = pl.Schema(schema)
        return cls(declared, title, function, parallelism, declared)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.title)

    @property
    def whole_partitions(self) -> bool:  # type: ignore[override]
        return True

    @property
    def deterministic(self) -> bool:
        return False

    def statistics(self) -> SourceStatistics:
        return SourceStatistics(None, None)

    def splits(self, hint: SplitHint) -> tuple[Split, ...]:
        return tuple(Split(index, index, None, None) for index in range(self.parallelism))

    def scan(self, split: Split) -> pl.LazyFrame:
        result = self.function(GraphTask(self.title, split.payload, self.parallelism))
        return put_together(result, self.declared, self.title).select(list(self.schema)).lazy()

    def describe(self) -> str:
        return f"{brief(self.function)}, {self.parallelism} task{'s' if self.parallelism > 1 else ''}"
