"""Row-wise operators that change which columns there are, or how many rows one row becomes: drop, rename, cast, explode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from hpcflow.ir.operators.base import Operator, TaskInfo


@dataclass(frozen=True, eq=False)
class Rename(Operator):
    """Old name -> new name."""

    mapping: Mapping[str, str]
    name = "rename"
    row_wise = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].rename(dict(self.mapping), strict=False)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        old = {new: name for name, new in self.mapping.items()}
        return (frozenset(old.get(name, name) for name in needed),)


@dataclass(frozen=True, eq=False)
class Cast(Operator):
    """Column -> data type, or one data type for all."""

    dtypes: Any
    strict: bool = True
    name = "cast"
    row_wise = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].cast(self.dtypes, strict=self.strict)


@dataclass(frozen=True, eq=False)
class FillNull(Operator):
    """Replace nulls by a value in the columns that Polars finds it fit for."""

    value: Any
    strategy: Any = None
    limit: int | None = None
    matches_supertype: bool = True
    name = "fill_null"
    row_wise = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].fill_null(self.value, self.strategy, self.limit, matches_supertype=self.matches_supertype)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed,)


@dataclass(frozen=True, eq=False)
class Explode(Operator):
    """One row for each element of the list columns."""

    columns: tuple[str, ...]
    empty_as_null: bool = False
    keep_nulls: bool = True
    name = "explode"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].explode(self.columns, empty_as_null=self.empty_as_null, keep_nulls=self.keep_nulls)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed | set(self.columns),)
