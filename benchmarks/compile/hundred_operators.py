"""Compile time of programs of 100 operators, from Dataset to physical plan: python -m benchmarks.compile.hundred_operators

Aim: below 200 ms. Prints the best of 5 for each program, and where the time goes.
"""

from __future__ import annotations

import time

import polars as pl

from hpcflow.api import building
from hpcflow.api.dataset import GATHER, Dataset
from hpcflow.compiler.default import DEFAULT
from hpcflow.compiler.policy import CompileContext, optimize
from hpcflow.config import resolve_config
from hpcflow.ir.dag import Vertex
from hpcflow.ir.operators.concat import Collect
from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.plan.stages import split_stages

OPERATORS = 100


def table() -> Dataset:
    """A driver-held table on no session."""
    source = FromMemory.of(pl.DataFrame({"k": [1], "v": [1], "s": ["x"]}))
    return Dataset(None, Vertex(source, source.schema))  # type: ignore[arg-type]


def row_wise() -> Dataset:
    """Columns and filters in turn: every filter is pushed to the source."""
    t = table()
    for n in range(OPERATORS // 2):
        t = t.with_columns((pl.col("v") + n).alias(f"x{n % 10}")).filter(pl.col("k") > n)
    return t


def shuffles() -> Dataset:
    """Joins, groups and sorts in turn."""
    t = table()
    for _ in range(OPERATORS // 4):
        t = t.join(table(), on="k", how="left").select("k", "v", "s").group_by("k").agg(pl.col("v").sum(), pl.col("s").first()).sort("v")
    return t


def expressions() -> Dataset:
    """Aggregates and windows inside expressions."""
    t = table()
    for _ in range(OPERATORS // 10):
        t = t.with_columns(v=pl.col("v") - pl.col("v").max().over("k")).filter(pl.col("v") >= pl.col("v").min())
    return t


def main() -> None:
    """Print the times."""
    context = CompileContext(4, resolve_config({}))
    for program in (row_wise, shuffles, expressions):
        best: tuple[float, ...] = (1e9,)
        for _ in range(5):
            started = time.perf_counter()
            dataset = program()
            built = time.perf_counter()
            dag = building.to_dag([dataset._then(Collect(), GATHER)], {})
            optimized, reports = optimize(dag, DEFAULT, context)
            done = time.perf_counter()
            plan = split_stages(optimized, context.default_partitions)
            best = min(best, (time.perf_counter() - built, built - started, done - built))
        slowest = max(reports, key=lambda r: r.seconds)
        total, writing, passes = (seconds * 1e3 for seconds in best)
        print(f"{program.__name__}: {len(dag.vertices)} operators, {len(plan.stages)} stages")
        print(f"    written down in {writing:.0f} ms, compiled in {total:.0f} ms")
        print(f"    passes {passes:.0f} ms; slowest in the last run: {slowest.name}, {slowest.seconds * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
