"""Decomposed aggregations equal Polars' on any data, partitioning and dtype, grouped and global."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.expressions import decompose, decompose_all
from tests.thorough import spread

from .simulator import assert_same, combine, combine_groups, cut

V, W = pl.col("v"), pl.col("w")
NUMBERS: dict[str, tuple[pl.DataType, st.SearchStrategy[object]]] = {
    **{
        name: (getattr(pl, name)(), st.integers(-(2 ** (bits - 1)) if name[0] == "I" else 0, 2 ** (bits - 1) - 1))
        for name, bits in (
            ("Int8", 8),
            ("Int16", 16),
            ("Int32", 32),
            ("Int64", 64),
            ("UInt8", 8),
            ("UInt16", 16),
            ("UInt32", 32),
            ("UInt64", 64),
            ("Int128", 100),
        )
    },
    "Float64": (pl.Float64(), st.one_of(st.floats(-1e6, 1e6), st.sampled_from([float("nan"), float("inf"), -0.0]))),
    "Float32": (pl.Float32(), st.one_of(st.integers(-1000, 1000).map(lambda n: n / 8), st.just(float("nan")))),
    "Boolean": (pl.Boolean(), st.booleans()),
    "Decimal": (pl.Decimal(12, 2), st.integers(-(10**9), 10**9).map(lambda n: Decimal(n) / 100)),
}
OTHERS: dict[str, tuple[pl.DataType, st.SearchStrategy[object]]] = {
    "Duration": (pl.Duration("us"), st.integers(-(10**12), 10**12).map(lambda n: dt.timedelta(microseconds=n))),
    "Date": (pl.Date(), st.dates(dt.date(1960, 1, 1), dt.date(2040, 1, 1))),
    "Datetime": (pl.Datetime("us"), st.datetimes(dt.datetime(1960, 1, 1), dt.datetime(2040, 1, 1))),
    "Zoned": (
        pl.Datetime("ms", "UTC"),
        st.datetimes(dt.datetime(1960, 1, 1), dt.datetime(2040, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=dt.UTC)),
    ),
    "Time": (pl.Time(), st.times()),
    "String": (pl.String(), st.text(max_size=3)),
    "Binary": (pl.Binary(), st.binary(max_size=3)),
    "Categorical": (pl.Categorical(), st.sampled_from(["b", "a", "c"])),
    "Enum": (pl.Enum(["z", "y", "x"]), st.sampled_from(["x", "y", "z"])),
    "List": (pl.List(pl.Int64()), st.lists(st.integers(0, 3), max_size=2)),
    "Struct": (pl.Struct({"p": pl.Int64()}), st.fixed_dictionaries({"p": st.integers(0, 3)})),
    "Null": (pl.Null(), st.none()),
}
ALL = {**NUMBERS, **OTHERS}
AGGREGATES: dict[str, pl.Expr] = {
    "sum": V.sum(),
    "mean": V.mean(),
    "min": V.min(),
    "max": V.max(),
    "nan_min": V.nan_min(),
    "nan_max": V.nan_max(),
    "var": V.var(),
    "var0": V.var(0),
    "std": V.std(),
    "std3": V.std(3),
    "count": V.count(),
    "len": V.len(),
    "rows": pl.len(),
    "null_count": V.null_count(),
    "has_nulls": V.has_nulls(),
    "any": V.any(),
    "all": V.all(),
    "any_kleene": V.any(ignore_nulls=False),
    "all_kleene": V.all(ignore_nulls=False),
    "first": V.first(),
    "last": V.last(),
    "first_value": V.first(ignore_nulls=True),
    "last_value": V.last(ignore_nulls=True),
    "product": V.product(),
    "and": V.bitwise_and(),
    "or": V.bitwise_or(),
    "xor": V.bitwise_xor(),
    "filtered_sum": V.filter(W > 0).sum(),
    "filtered_first": V.filter(W > 0).first(),
    "filtered_last": V.filter(W > 0).last(),
    "filtered_mean": V.filter(W > 0).mean(),
    "filtered_max": V.filter(W > 0).max(),
    "filtered_len": V.filter(W > 0).len(),
    "dropped_last": V.drop_nulls().last(),
    "filtered_std": V.filter(W > 0).std(),
}
MUST_DECOMPOSE = {
    name: {"sum", "mean", "min", "max", "var", "std", "count", "len", "first", "last", "first_value", "null_count", "any", "all"} for name in NUMBERS
}


@st.composite
def tables(draw: st.DrawFn, name: str) -> pl.DataFrame:
    dtype, values = ALL[name]
    rows = draw(st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), values), st.one_of(st.none(), st.integers(-1, 2))), max_size=14))
    return pl.DataFrame(
        {"k": [row[0] for row in rows], "v": pl.Series([row[1] for row in rows], dtype=dtype, strict=False), "w": [row[2] for row in rows]},
        schema={"k": pl.Int64(), "v": dtype, "w": pl.Int64()},
    )


def compare(expr: pl.Expr, table: pl.DataFrame, partitions: int, what: str) -> None:
    parts_of = decompose_all([expr], table.schema)
    if not parts_of.complete:
        return
    parts = cut(table, partitions)
    assert_same(combine(parts_of, parts).select(parts_of.final), table.select(expr), what)
    wanted = table.group_by("k", maintain_order=True).agg(expr)
    assert_same(combine_groups(parts_of, parts, ["k"]), wanted, f"{what} by k")


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", spread(ALL, every=3))
def test_aggregates_of_every_dtype_equal_polars(name: str) -> None:
    @settings(database=None)
    @given(tables(name), st.sampled_from([1, 2, 3, 7]), st.sampled_from(sorted(AGGREGATES)))
    def check(table: pl.DataFrame, partitions: int, which: str) -> None:
        compare(AGGREGATES[which], table, partitions, f"{which} of {name}")

    check()


@pytest.mark.parametrize("name", spread(ALL, every=4))
def test_each_aggregate_of_a_fixed_table(name: str) -> None:
    dtype, _ = ALL[name]
    fixed = {
        "Boolean": [True, None, False, True],
        "String": ["b", None, "", "é"],
        "Float64": [1.5, None, float("nan"), -2.0],
        "Float32": [1.5, None, float("nan"), -2.0],
    }
    sample = fixed.get(name) or [None, *_some(name), None]
    rows = 23
    table = pl.DataFrame(
        {
            "k": [index * 7 % 5 for index in range(rows)],
            "v": pl.Series([sample[index % len(sample)] for index in range(rows)], dtype=dtype),
            "w": [index % 3 - 1 for index in range(rows)],
        }
    )
    for which, expr in AGGREGATES.items():
        for partitions in (2, 7):
            compare(expr, table, partitions, f"{which} of {name}")
    for which in MUST_DECOMPOSE.get(name, ()):
        assert decompose(AGGREGATES[which], table.schema) is not None, f"{which} of {name} must decompose"


def _some(name: str) -> list[object]:
    examples: dict[str, list[object]] = {
        "Decimal": [Decimal("1.25"), Decimal("-7.50"), Decimal("0.01")],
        "Duration": [dt.timedelta(microseconds=-3), dt.timedelta(days=2, seconds=1)],
        "Date": [dt.date(2024, 1, 30), dt.date(2024, 2, 3), dt.date(1969, 12, 31)],
        "Datetime": [dt.datetime(2024, 1, 30, 1, 2, 3, 4), dt.datetime(1969, 1, 1)],
        "Zoned": [dt.datetime(2024, 1, 30, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],
        "Time": [dt.time(1, 2, 3), dt.time(23, 59, 59, 5)],
        "Binary": [b"b", b"", b"\xff"],
        "Categorical": ["b", "a"],
        "Enum": ["x", "z"],
        "List": [[1], [], [2, 3]],
        "Struct": [{"p": 1}, {"p": 2}],
        "Null": [None],
    }
    return examples.get(name, [5, 7, 100, 3])


def test_wrapping_sums_wrap_alike() -> None:
    table = pl.DataFrame({"v": pl.Series([2**62] * 5, dtype=pl.Int64), "u": pl.Series([2**31] * 5, dtype=pl.UInt32)})
    parts_of = decompose_all([pl.col("v").sum(), pl.col("u").sum()], table.schema)
    assert_same(combine(parts_of, cut(table, 3)).select(parts_of.final), table.select(pl.all().sum()), "wrapping")


def test_counts_above_the_index_type_are_an_error() -> None:
    parts = decompose(pl.len(), pl.Schema({"v": pl.Int64}))
    assert parts is not None
    merged = pl.DataFrame({"__p0": pl.Series([2**33], dtype=pl.UInt64)})
    with pytest.raises(pl.exceptions.InvalidOperationError):
        merged.select(parts.final)


def test_equal_partials_are_shared() -> None:
    schema = pl.Schema({"v": pl.Float64})
    parts = decompose_all([V.mean(), V.sum() / V.count(), V.mean() * 2, V.median()], schema)
    assert [one.meta.output_name() for one in parts.partial] == ["__p0", "__p1"]
    assert [one is not None for one in parts.final] == [True, True, True, False]


def test_names_are_kept() -> None:
    schema = pl.Schema({"v": pl.Float64, "w": pl.Int64})
    for expr, name in [(V.mean(), "v"), (pl.len(), "len"), (V.sum().alias("s"), "s"), (W.max() - V.min(), "w"), (V.mean().name.suffix("_m"), "v_m")]:
        parts = decompose(expr, schema)
        assert parts is not None
        assert parts.final.meta.output_name() == name


@pytest.mark.parametrize(
    "expr",
    [
        V.median(),
        V.n_unique(),
        V.implode(),
        V.sort().first(),
        V.cum_sum().last(),
        (V - V.mean()).sum(),
        V - V.mean(),
        V,
        V.sum().over("w"),
        V.head(2).sum(),
        pl.lit(1),
        pl.lit(1).sum(),
    ],
    ids=str,
)
def test_what_is_not_on_the_list_does_not_decompose(expr: pl.Expr) -> None:
    assert decompose(expr, pl.Schema({"v": pl.Float64, "w": pl.Int64})) is None


def test_large_mean_and_variance_stay_exact() -> None:
    values = [1e9 + index % 7 for index in range(1000)]
    table = pl.DataFrame({"v": values})
    parts_of = decompose_all([V.mean().alias("m"), V.var().alias("s"), V.std(0).alias("d")], table.schema)
    assert_same(
        combine(parts_of, cut(table, 7)).select(parts_of.final),
        table.select(V.mean().alias("m"), V.var().alias("s"), V.std(0).alias("d")),
        "large mean",
    )


def test_a_constant_column_has_no_variance_beyond_rounding() -> None:
    table = pl.DataFrame({"v": [0.1] * 100})
    parts = decompose(V.var(), table.schema)
    assert parts is not None
    assert combine(decompose_all([V.var()], table.schema), cut(table, 7)).select(parts.final).item() < 1e-30
