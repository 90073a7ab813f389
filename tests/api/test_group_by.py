"""group_by: every aggregation, combined before the shuffle or not, with order within groups."""

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.testing.tables import table_of_every_type
from tests.api.oracle import check, check_keys, check_refused_alike, events, on_shapes
from tests.thorough import thorough

CASES = {
    "sum_len": lambda t: t.group_by("k").agg(pl.col("w").sum(), pl.len()),
    "all_decomposable": lambda t: t.group_by("k").agg(
        pl.col("w").sum().alias("sum"),
        pl.col("w").mean().alias("mean"),
        pl.col("w").min().alias("min"),
        pl.col("w").max().alias("max"),
        pl.col("w").var().alias("var"),
        pl.col("w").std(ddof=0).alias("std"),
        pl.col("w").count().alias("count"),
        pl.col("w").first().alias("first"),
        pl.col("w").last().alias("last"),
        pl.col("b").any().alias("any"),
        pl.col("b").all().alias("every"),
        pl.col("k").null_count().alias("nulls"),
        pl.len(),
    ),
    "floats_with_nan": lambda t: t.group_by("k").agg(
        a=pl.col("v").sum(), b=pl.col("v").min(), c=pl.col("v").max(), d=pl.col("v").mean(), e=pl.col("v").nan_max(), f=pl.col("v").count()
    ),
    "arithmetic_over_aggregates": lambda t: t.group_by("k").agg(x=pl.col("w").sum() / pl.len() - pl.col("w").min() * 2),
    "aggregates_of_expressions": lambda t: t.group_by("k").agg(x=(pl.col("w") * pl.col("i")).sum(), y=pl.col("w").filter(pl.col("b")).sum()),
    "median_quantile": lambda t: t.group_by("k").agg(a=pl.col("w").median(), b=pl.col("w").quantile(0.3, "linear")),
    "n_unique_mode": lambda t: t.group_by("k").agg(a=pl.col("s").n_unique(), b=pl.col("w").mode().sort().first()),
    "lists_in_order": lambda t: t.group_by("k").agg("i", x=pl.col("s").drop_nulls(), y=pl.col("i").head(2), z=pl.col("i").tail(2)),
    "order_within_groups": lambda t: t.group_by("k").agg(
        a=pl.col("i").sort_by("w").first(), b=pl.col("i").cum_sum(), c=pl.col("i").diff().sum(), d=pl.col("w").shift(1), e=pl.col("w").arg_max()
    ),
    "implode_unique": lambda t: t.group_by("k").agg(a=pl.col("w").unique().sort(), b=pl.col("w").reverse()),
    "mixed_with_and_without_combiner": lambda t: t.group_by("k").agg(a=pl.col("w").sum(), b=pl.col("w").median()),
    "strings": lambda t: t.group_by("s").agg(pl.col("i").sum(), pl.col("k").max(), x=pl.col("e").first(), y=pl.col("s").len()),
    "string_extremes": lambda t: t.group_by("k").agg(a=pl.col("s").min(), b=pl.col("s").max(), c=pl.col("d").min(), d=pl.col("m").sum()),
    "two_keys": lambda t: t.group_by("k", "s").agg(pl.col("w").sum()),
    "category_key": lambda t: t.group_by("c").agg(pl.col("w").sum()),
    "enum_key": lambda t: t.group_by("e").agg(pl.col("w").sum()),
    "decimal_key": lambda t: t.group_by("m").agg(pl.col("w").sum()),
    "float_key": lambda t: t.group_by("v").agg(pl.col("w").sum(), pl.len()),
    "struct_key": lambda t: t.group_by("st").agg(pl.col("w").sum()),
    "hot_key": lambda t: t.group_by("hot").agg(pl.col("w").sum(), a=pl.col("w").median()),
    "key_expression": lambda t: t.group_by(pl.col("i") % 3).agg(pl.col("w").sum()),
    "key_expression_and_its_column": lambda t: t.group_by(pl.col("i") % 3).agg(pl.col("i").max().alias("m")),
    "named_key": lambda t: t.group_by("k", parity=pl.col("i") % 2).agg(pl.col("w").sum()),
    "key_of_literal": lambda t: t.group_by(pl.lit(1).alias("one")).agg(pl.col("w").sum()),
    "all_null_key": lambda t: t.with_columns(k=pl.lit(None, dtype=pl.Int32)).group_by("k").agg(pl.col("w").sum()),
    "of_nothing": lambda t: t.filter(pl.col("i") > 1000).group_by("k").agg(pl.col("w").sum(), a=pl.col("w").median()),
    "partly_nothing": lambda t: t.filter(pl.col("i") > 50).group_by("k").agg(pl.col("w").sum(), a=pl.col("w").median()),
    "selectors": lambda t: t.select("k", "i", "w", "v").group_by("k").agg(pl.all().sum()),
    "no_aggregations": lambda t: t.group_by("k").agg(),
    "groups_of_groups": lambda t: t.group_by("k", "e").agg(pl.col("w").sum()).group_by("k").agg(pl.col("w").max()),
    "filter_on_groups": lambda t: t.group_by("k").agg(n=pl.len()).filter(pl.col("n") > 8),
    "nested_types": lambda t: t.group_by("k").agg(a=pl.col("l").first(), b=pl.col("st").last(), c=pl.col("big").sum()),
}
SHORTCUTS = {
    "len": lambda t: t.group_by("k").len(),
    "len_named": lambda t: t.group_by("k").len("n"),
    "sum": lambda t: t.select("k", "i", "w").group_by("k").sum(),
    "mean": lambda t: t.select("k", "i", "w").group_by("k").mean(),
    "min": lambda t: t.select("k", "i", "s").group_by("k").min(),
    "max": lambda t: t.select("k", "i", "s").group_by("k").max(),
    "median": lambda t: t.select("k", "i", "w").group_by("k").median(),
    "n_unique": lambda t: t.select("k", "i", "s").group_by("k").n_unique(),
    "quantile": lambda t: t.select("k", "i", "w").group_by("k").quantile(0.5),
    "first": lambda t: t.select("k", "i", "l").group_by("k").first(),
    "last": lambda t: t.select("k", "i", "l").group_by("k").last(),
    "all": lambda t: t.select("k", "i", "s").group_by("k").all(),
    "sum_of_a_key_expression": lambda t: t.select("i", "w").group_by(pl.col("i") % 3).sum(),
}


@on_shapes(CASES | SHORTCUTS)
def test_groups_equal_polars(session, name):
    chain = (CASES | SHORTCUTS)[name]
    columns = chain(events().lazy()).collect_schema().names()
    keys = {"two_keys": 2, "named_key": 2}.get(name, 1)
    check(session, chain, events(), by=columns[:keys])


@pytest.mark.parametrize("name", ["sum_len", "lists_in_order", "key_expression", *map(thorough, ["two_keys", "strings", "float_key", "of_nothing"])])
def test_maintained_order_equals_polars(session, name):
    def chain(t):
        class Ordered:
            def group_by(self, *by, **named):
                return t.group_by(*by, maintain_order=True, **named)

            def filter(self, *p):
                return t.filter(*p).pipe(lambda f: type("F", (), {"group_by": lambda s, *by: f.group_by(*by, maintain_order=True)})())

        return CASES[name](Ordered())

    check(session, chain, events())


@pytest.mark.parametrize("rows", [1, 3])
def test_head_and_tail_of_groups(session, rows):
    slim = events().select("i", "k", "s")
    check(session, lambda t: t.group_by("k").head(rows), slim, by=["k", "i"])
    check(session, lambda t: t.group_by("k").tail(rows), slim, by=["k", "i"])
    check(session, lambda t: t.group_by(pl.col("i") % 4).head(rows), slim, by=["i", "k", "s"])


def test_map_groups_equals_polars(session):
    def spread(df):
        return df.select(pl.col("k").first(), x=pl.col("w").max() - pl.col("w").min())

    schema = {"k": pl.Int32, "x": pl.Int16}
    check(session, lambda t: t.group_by("k").map_groups(spread, schema=schema), events().select("k", "w"), by="k")


@pytest.mark.parametrize(
    "chain",
    [
        lambda t: t.group_by("k", maintain_order=True).head(2),
        lambda t: t.group_by("k", "s", maintain_order=True).tail(2),
        lambda t: t.group_by(m=pl.col("i") % 4, maintain_order=True).head(1),
        lambda t: t.group_by("k", maintain_order=True).map_groups(lambda d: d.select("k", "i").head(2), schema={"k": pl.Int32, "i": pl.Int64}),
    ],
)
def test_rows_of_groups_come_in_the_order_of_the_groups_first_rows(session, chain):
    slim = events().select(pl.col("i").cast(pl.Int64), "k", "s")
    check(session, chain, slim)


def test_every_type_as_group_key(one_session):
    table = table_of_every_type(30).with_row_index("i")
    check_keys(one_session, lambda t, key: t.group_by(key).agg(pl.col("i"), n=pl.len()), table, by="i")


@pytest.mark.thorough
def test_every_type_is_aggregated(one_session):
    table = table_of_every_type(30).with_columns(g=pl.int_range(30) % 4)
    for name in ("first", "last", "min", "max", "n_unique", "count"):
        columns = []
        for column in table.columns[:-1]:
            try:
                table.lazy().group_by("g").agg(getattr(pl.col(column), name)()).collect()
            except Exception:  # Polars itself refuses it
                continue
            columns.append(column)
        check(one_session, lambda t: t.group_by("g").agg(getattr(pl.col(c), name)() for c in columns), table, by="g")  # noqa: B023


def test_wrong_groups_are_refused_where_they_are_written(one_session):
    check_refused_alike(one_session, lambda t: t.group_by("k").agg(pl.col("w").sum().alias("k")), events(), error=hf.SchemaError)
    check_refused_alike(one_session, lambda t: t.group_by("k", "k").agg(pl.len()), events(), error=hf.SchemaError)
    check_refused_alike(one_session, lambda t: t.group_by("k").agg(pl.col("w").sum(), pl.col("w").max()), events(), error=hf.SchemaError)
    check_refused_alike(one_session, lambda t: t.group_by("kk").agg(pl.len()), events(), error=hf.ColumnNotFoundError)
    check_refused_alike(one_session, lambda t: t.group_by("k").agg(pl.col("ww").sum()), events(), error=hf.ColumnNotFoundError)
    with pytest.raises(hf.UnsupportedExpressionError, match="row by row"):
        one_session.from_polars(events()).group_by(pl.col("w") - pl.col("w").mean())
