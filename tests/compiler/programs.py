"""Small Dags for tests of passes: made by the api, never run, shown as text without vertex ids."""

from __future__ import annotations

import re

import polars as pl

from hpcflow.api import building
from hpcflow.api.dataset import GATHER, Dataset
from hpcflow.compiler.policy import CompileContext, Pass, Policy, optimize
from hpcflow.config import resolve_config
from hpcflow.ir.dag import Dag, Vertex
from hpcflow.ir.operators.concat import Collect
from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.ir.operators.read_parquet import ReadParquet
from hpcflow.ir.render import to_text


def table(rows: int = 4, **columns: pl.DataType) -> Dataset:
    """A driver-held table without a session: enough to build programs on. Default columns: k, v, s."""
    schema = columns or {"k": pl.Int64, "v": pl.Int64, "s": pl.String}
    source = FromMemory.of(pl.DataFrame({name: [None] * rows for name in schema}, schema=schema))
    return Dataset(None, Vertex(source, source.schema))  # type: ignore[arg-type]


def parquet(path, rows: int = 40) -> Dataset:
    """A Parquet file of columns k, v, s in row groups of ten rows."""
    pl.DataFrame({"k": range(rows), "v": range(rows), "s": ["x"] * rows}).write_parquet(path, row_group_size=10)
    source = ReadParquet.of(path)
    return Dataset(None, Vertex(source, source.schema))  # type: ignore[arg-type]


def dag(*datasets: Dataset) -> Dag:
    """The Dag that collects these datasets."""
    return building.to_dag([d._then(Collect(), GATHER) for d in datasets], {})


def context(workers: int = 2, nodes: int = 1, **options) -> CompileContext:
    """What passes know of a session with these options."""
    return CompileContext(workers, resolve_config(options), nodes)


def text(given: Dag) -> str:
    """The Dag as text with ids renumbered from 1, in the order shown."""
    seen: dict[str, int] = {}
    shown = re.sub(r"#(\d+)", lambda m: f"#{seen.setdefault(m.group(1), len(seen) + 1)}", to_text(given))
    return re.sub(r"__hf_(\w+?)_\d+", r"__hf_\1", shown)


def after(run, *datasets: Dataset, **options) -> str:
    """The text of the Dag after one pass; the runner's checks included."""
    policy = Policy((Pass("tested", run, reshapes=True),))
    optimized, _ = optimize(dag(*datasets), policy, context(**options))
    return text(optimized)
