"""A column may have any name: also one that looks like ours, or like nothing that a program would choose."""

import polars as pl
import pytest

import hpcflow as hf
from tests.api.oracle import same
from tests.thorough import spread

NAMES = ["__hf_key_0", "__hf_origin_1", "__p0", "__p1", "__agg_0", "__win_0", "__hf_sample_0"]
NAMES += ["literal", "len", "", " ", "ünï cödé 列", "a.b", "^x", "x$", "**", '"q"', "'", "\\", "\n", "%s{}"]
LEFT = pl.DataFrame({"k": [1, 2, 1, 3, 2, 1], "v": [3, 1, 4, 1, 5, 9]})

CHAINS = {
    "group_by": lambda t, a, b: t.group_by(pl.nth(0)).agg(x=pl.nth(1).sum(), y=pl.nth(1).mean(), z=pl.nth(1).median()).sort(pl.nth(0)),
    "group_by_expression": lambda t, a, b: t.group_by(pl.nth(0) % 2).agg(pl.nth(1).sum(), n=pl.len()).sort(pl.nth(0)),
    "group_by_in_order": lambda t, a, b: t.group_by(pl.nth(0), maintain_order=True).agg(pl.nth(1).max()),
    "over": lambda t, a, b: t.with_columns(x=pl.nth(1).sum().over(pl.nth(0)), y=pl.nth(1) - pl.nth(1).mean()),
    "aggregates": lambda t, a, b: t.select(pl.nth(0) - pl.nth(0).max(), x=pl.nth(1) * pl.nth(1).mean()),
    "sort": lambda t, a, b: t.sort(pl.nth(0), pl.nth(1), descending=[True, False]),
    "unique": lambda t, a, b: t.unique([pl.nth(0) % 2], keep="first", maintain_order=True),
    "reverse": lambda t, a, b: t.reverse(),
    "rename": lambda t, a, b: t.rename({a: "x", b: a}).rename({"x": b}),
    "with_row_index": lambda t, a, b: t.with_row_index("i").filter(pl.col("i") > 1),
    "drop": lambda t, a, b: t.select(pl.nth(0)).with_columns(y=pl.lit(1)),
}


@pytest.mark.parametrize("chain", spread(CHAINS, every=11))
def test_columns_with_odd_names_are_columns(one_session, chain):
    pairs = list(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))
    tables = [LEFT.rename({"k": a, "v": b}) for a, b in pairs]
    got = hf.collect_all(CHAINS[chain](one_session.from_polars(table), a, b) for table, (a, b) in zip(tables, pairs, strict=True))
    for table, (a, b), rows in zip(tables, pairs, got, strict=True):
        same(rows, CHAINS[chain](table.lazy(), a, b).collect())


def test_a_join_of_columns_with_odd_names(one_session):
    tables = [LEFT.rename({"k": name}) for name in NAMES]
    joined = [one_session.from_polars(t).join(one_session.from_polars(t.head(4)), on=name) for t, name in zip(tables, NAMES, strict=True)]
    for rows, table, name in zip(hf.collect_all(joined), tables, NAMES, strict=True):
        same(rows, table.join(table.head(4), on=name), by=["v", "v_right"])


def test_internal_names_differ_from_process_to_process_and_from_those_of_users(one_session):
    from hpcflow.api.building import fresh_name

    first, second = fresh_name("key"), fresh_name("key")
    assert first != second
    assert len(first) > len("__hf_key_") + 12
    table = one_session.from_polars(LEFT)
    for name in (f"__hf_key_{number}" for number in range(5)):
        got = table.rename({"v": name}).group_by(pl.col("k") % 2).agg(pl.col(name).sum()).sort("k").collect()
        same(got, LEFT.rename({"v": name}).group_by(pl.col("k") % 2).agg(pl.col(name).sum()).sort("k"))


@pytest.mark.parametrize(("name", "why"), [("a\0b", "NUL character"), ("*", "named like a pattern"), ("^x.*$", "named like a pattern")])
def test_a_name_that_cannot_be_a_column_s_is_refused_at_the_call(one_session, name, why):
    calls = (
        lambda t: t.rename({"v": name}),
        lambda t: t.with_row_index(name),
        lambda t: t.select(pl.col("v").alias(name)),
        lambda t: one_session.from_dict({name: [1]}),
    )
    for call in calls:
        with pytest.raises(hf.SchemaError, match=why):
            call(one_session.from_polars(LEFT))
