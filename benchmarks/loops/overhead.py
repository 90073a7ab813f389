"""What an iteration of hf.iterate costs on a table of 1000 rows, where there is next to nothing to compute.

    hpcflow run benchmarks/loops/overhead.py -n 3

Prints milliseconds an iteration: of dataflow without and with a condition, of a bsp step with a condition (a loop within the step), and of a plain
`for` over cached datasets.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import polars as pl

import hpcflow as hf

ITERATIONS = 200


def grown(state: hf.Dataset) -> hf.Dataset:
    """One row-wise expression."""
    return state.with_columns(pl.col("v") * 1.0001)


def grown_by_bsp(ctx: Any, state: pl.DataFrame) -> pl.DataFrame:
    """The same on one worker."""
    return state.with_columns(pl.col("v") * 1.0001)


def report(name: str, seconds: float) -> None:
    print(f"{name:32} {seconds / ITERATIONS * 1e3:7.2f} ms an iteration")


def main() -> int:
    never = pl.col("v").max() < 0
    with hf.Session(progress="off") as session:
        table = session.from_dict({"k": list(range(1000)), "v": [1.0] * 1000}).cache()
        table.count()
        bodies: dict[str, tuple[Any, Any]] = {
            "dataflow, a number of times": (grown, None),
            "dataflow, until": (grown, never),
            "one bsp step, until": (lambda state: state.bsp(grown_by_bsp, schema=table.schema), never),
        }
        for name, (body, until) in bodies.items():
            state = hf.iterate(body, table, until=until, max_iterations=ITERATIONS, on_limit="return")
            start = time.perf_counter()
            state.count()
            report(name, time.perf_counter() - start)
        state = table
        start = time.perf_counter()
        for _ in range(ITERATIONS):
            new = grown(state).cache()
            new.count()
            state.unpersist()
            state = new
        report("plain for, cached", time.perf_counter() - start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
