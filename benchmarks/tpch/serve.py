"""What both runners of this folder share: one workload a question, from files to a DataFrame in the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from benchmarks.peers.serve import Workload
from benchmarks.tpch.queries import QUESTIONS, Tables


def workloads(tables: Tables, collect: Callable[[Any], pl.DataFrame]) -> dict[str, Workload]:
    """q1 ... q22; results are compared by the sums of their numeric columns and the first row's texts' lengths."""

    def workload(question: Callable[[Tables], Any]) -> Workload:
        def run() -> tuple[pl.DataFrame, int]:
            found = collect(question(tables))
            return found, found.height

        return Workload(run, sums)

    return {f"q{number}": workload(question) for number, question in QUESTIONS.items()}


def sums(found: pl.DataFrame) -> Mapping[str, float]:
    """Column -> sum of its numbers, or of the lengths of its texts, each weighted by its row's number: order counts."""
    weight = pl.int_range(1, pl.len() + 1).cast(pl.Float64)

    def number(name: str, dtype: pl.DataType) -> pl.Expr:
        column = pl.col(name)
        return column.str.len_bytes() if dtype == pl.String else column.dt.epoch("d") if dtype == pl.Date else column

    values = [(number(name, dtype).cast(pl.Float64) * weight).sum().alias(name) for name, dtype in found.schema.items()]
    result: dict[str, float] = found.select(values).row(0, named=True)
    return result
