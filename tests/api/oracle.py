"""The oracle: a chain of methods on Datasets against the same chain on polars.LazyFrame.

    check(session, lambda t: t.filter(pl.col("v") > 0), events())

Invariant: rows, their order, column names and dtypes must be equal; `by` sorts both sides first, where Polars promises no order.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import hpcflow as hf
from tests.thorough import thorough

Chain = Callable[..., Any]


def on_shapes(cases: Iterable[str]) -> Any:
    """Parametrizes `session` and `name`: every case on two workers that shuffle everything, and in turn on one worker and on five.

    Of every third case one of the two runs is in the fast part, mostly that on two workers.
    """
    pairs: list[Any] = []
    for n, name in enumerate(cases):
        runs = [("2x3", name), (("1x1", "5x1")[n // 2 % 2], name)]
        fast, other = reversed(runs) if n % 12 == 6 else runs
        pairs += [fast if n % 3 == 0 else thorough(*fast), thorough(*other)]
    return pytest.mark.parametrize(("session", "name"), pairs, indirect=["session"], ids=lambda value: value)


def events(rows: int = 60) -> pl.DataFrame:
    """Keys with nulls and a hot value, floats with NaN, -0.0 and nulls, strings short and long, and the types that travel with care."""
    numbers = range(max(rows, 20))
    return (
        pl.DataFrame(
            {
                "i": list(numbers),
                "k": [None if n % 11 == 5 else n % 7 for n in numbers],
                "hot": [1 if n % 10 else n for n in numbers],
                "s": [None if n % 13 == 3 else f"key {n % 5}" * (1 if n % 2 else 4) for n in numbers],
                "v": [None if n % 9 == 4 else math.nan if n % 17 == 6 else -0.0 if n % 6 == 0 else (n * 37 % 101) / 4 for n in numbers],
                "w": [(n * 53) % 97 for n in numbers],
                "b": [None if n % 8 == 7 else n % 3 == 0 for n in numbers],
                "d": [dt.date(2024, 1, 1) + dt.timedelta(days=n * 7 % 30) for n in numbers],
                "l": [None if n % 10 == 9 else list(range(n % 4)) for n in numbers],
            },
            schema_overrides={"i": pl.Int64, "k": pl.Int32, "w": pl.Int16},
        )
        .with_columns(
            c=pl.col("s").cast(pl.Categorical),
            e=pl.format("e{}", pl.col("i") % 3).cast(pl.Enum(["e2", "e0", "e1"])),
            m=(pl.col("i") % 4).cast(pl.Decimal(20, 2)),
            big=pl.col("w").cast(pl.Int128) * 10**25,
            st=pl.struct("k", "s"),
        )
        .head(rows)
    )


def colours() -> pl.DataFrame:
    """A small right side for joins: key 3 twice, a null key, a key that nobody has."""
    return pl.DataFrame(
        {"k": [0, 1, 3, 3, None, 99], "s": ["key 0", "key 1", None, "key 3", "key 4", "none"], "z": ["a", "b", "c", "d", "e", "f"]},
        schema_overrides={"k": pl.Int32},
    )


def run(session: Any, chain: Chain, *tables: pl.DataFrame) -> pl.DataFrame:
    """The chain on datasets of `session`."""
    return chain(*(session.from_polars(table) for table in tables)).collect()


def check(session: Any, chain: Chain, *tables: pl.DataFrame, by: Any = None) -> None:
    """The chain gives on Datasets what it gives on LazyFrames."""
    want = chain(*(table.lazy() for table in tables)).collect()
    same(run(session, chain, *tables), want, by)


def same(got: pl.DataFrame, want: pl.DataFrame, by: Any = None) -> None:
    """Equal, after both are sorted by `by`."""
    assert got.schema == want.schema
    if by is not None:
        got, want = got.sort(by, maintain_order=True, nulls_last=True), want.sort(by, maintain_order=True, nulls_last=True)
    assert_frame_equal(got, want, rel_tol=1e-9, abs_tol=0, categorical_as_str=True)


def check_keys(session: Any, chain: Callable[[Any, str], Any], table: pl.DataFrame, by: Any = None) -> None:
    """`chain(table, key)` for every column as the key, in one action; what Polars refuses, hpcflow refuses before it runs."""
    dataset = session.from_polars(table)
    wanted, given = {}, {}
    for key in table.columns:
        try:
            wanted[key] = chain(table.lazy(), key).collect()
        except Exception:
            with pytest.raises(hf.HpcflowError):
                chain(dataset, key)
        else:
            given[key] = chain(dataset, key)
    for key, got in zip(given, hf.collect_all(given.values()), strict=True):
        try:
            same(got, wanted[key], by)
        except AssertionError as error:
            error.add_note(f"key {key}")
            raise


def check_refused_alike(session: Any, chain: Chain, *tables: pl.DataFrame, error: type[BaseException]) -> None:
    """Polars refuses the chain, and hpcflow refuses it with `error` before anything is collected."""
    with pytest.raises(Exception):  # noqa: B017  # whatever Polars says
        chain(*(table.lazy() for table in tables)).collect()
    datasets = [session.from_polars(table) for table in tables]
    with pytest.raises(error):
        chain(*datasets)
