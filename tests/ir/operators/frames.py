"""Frames and helpers of the source and sink tests."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal

import polars as pl

from hpcflow.ir.operators.source import Source, Split


def read_all(source: Source, splits: Sequence[Split]) -> pl.DataFrame:
    """All splits read one by one and put together; each must have the source's schema."""
    frames = [source.scan(split).collect() for split in splits]
    for split, frame in zip(splits, frames, strict=True):
        assert frame.schema == source.schema
        assert split.rows is None or split.rows == frame.height
    assert [split.index for split in splits] == list(range(len(splits)))
    return pl.concat(frames)


def every_type() -> pl.DataFrame:
    """Five rows of every dtype that files can hold, with nulls."""
    day, moment = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 30, 1, 123000)
    return pl.DataFrame(
        [
            *[pl.Series(str(dtype), [0, 1, None, 100, 7], dtype=dtype) for dtype in pl.datatypes.group.INTEGER_DTYPES if "128" not in str(dtype)],
            pl.Series("f32", [0.0, -0.0, None, float("nan"), float("inf")], dtype=pl.Float32),
            pl.Series("f64", [0.5, -0.0, None, float("nan"), float("-inf")], dtype=pl.Float64),
            pl.Series("bool", [True, None, False, True, False]),
            pl.Series("str", ["", None, "é", "a\nb", "a string longer than twelve bytes"]),
            pl.Series("bin", [b"", None, b"\0\xff", b"x", b"y" * 40]),
            pl.Series("date", [day, None, day, day, day]),
            pl.Series("time", [datetime.time(1, 2, 3, 4), None, datetime.time(0), datetime.time(0), datetime.time(23, 59, 59)]),
            *[pl.Series(f"dt_{unit}", [moment, None, moment, moment, moment], dtype=pl.Datetime(unit)) for unit in ("ms", "us", "ns")],
            pl.Series("dt_tz", [moment, None, moment, moment, moment], dtype=pl.Datetime("us")).dt.replace_time_zone("Europe/Berlin"),
            pl.Series("duration", [datetime.timedelta(days=1), None, datetime.timedelta(0)] + [datetime.timedelta(seconds=1)] * 2),
            pl.Series("decimal", [Decimal("1.25"), None, Decimal("-3.50"), Decimal("0.00"), Decimal("9.99")], dtype=pl.Decimal(12, 2)),
            pl.Series("cat", ["a", None, "b", "a", "c"], dtype=pl.Categorical),
            pl.Series("enum", ["x", None, "y", "x", "y"], dtype=pl.Enum(["x", "y", "unused"])),
            pl.Series("list", [[1, 2], None, [], [None], [3]], dtype=pl.List(pl.Int64)),
            pl.Series("list_str", [["a"], None, [], [None, "b"], ["c"]], dtype=pl.List(pl.String)),
            pl.Series("array", [[1, 2], None, [3, 4], [5, None], [7, 8]], dtype=pl.Array(pl.Int32, 2)),
            pl.Series("struct", [{"p": 1, "q": "x"}, {"p": None, "q": None}, {"p": 2, "q": ""}, {"p": 3, "q": "y"}, {"p": 4, "q": None}]),
        ]
    )
