"""Functions that fail first, and what has to hold when a task that runs one is tried again."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

import hpcflow as hf


def failing_first(directory: Path, name: str = "call", times: int = 1) -> Callable[[Any], Any]:
    """The identity, whose first `times` calls in all processes raise an error that may pass; a file a call. Tables without rows are let through."""

    def function(value: Any) -> Any:
        empty = isinstance(value, pl.DataFrame) and not value.height
        for number in () if empty else range(times):
            with suppress(FileExistsError), (directory / f"{name}-{number}").open("x"):  # one of all processes makes it
                raise OSError(errno.EIO, "this function fails first")
        return value

    return function


def check_retries(session: hf.Session, directory: Path) -> None:
    """Rows before and after a shuffle are those of one try; so is what tasks have added to an accumulator."""
    marks = directory / "marks"
    marks.mkdir()
    seen: hf.Accumulator[int] = hf.accumulator()
    fail = failing_first(marks)

    def counted(df: pl.DataFrame) -> pl.DataFrame:
        seen.add(df.height)
        return pl.DataFrame(fail(df))

    rows = session.range(1000).with_columns(k=pl.col("value") % 7).map_batches(counted, deterministic=True)
    got = rows.group_by("k").agg(pl.len(), pl.col("value").sum()).sort("k").collect()
    want = pl.DataFrame({"value": range(1000)}).with_columns(k=pl.col("value") % 7).group_by("k").agg(pl.len(), pl.col("value").sum()).sort("k")
    assert got.equals(want), got
    assert seen.value == 1000 and len(list(marks.iterdir())) == 1
