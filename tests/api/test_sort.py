"""Global order: stable, with every direction, null place, type and degree of skew."""

import polars as pl
import pytest

from hpcflow.testing.tables import table_of_every_type
from tests.api.oracle import check, check_keys, events, on_shapes, same
from tests.thorough import thorough

CASES = {
    "ascending": lambda t: t.sort("w", maintain_order=True),
    "descending": lambda t: t.sort("w", descending=True, maintain_order=True),
    "stable_on_few_keys": lambda t: t.sort("k", maintain_order=True),
    "stable_descending": lambda t: t.sort("k", descending=True, maintain_order=True),
    "nulls_last": lambda t: t.sort("k", nulls_last=True, maintain_order=True),
    "nulls_last_descending": lambda t: t.sort("k", nulls_last=True, descending=True, maintain_order=True),
    "nan_and_zeros": lambda t: t.sort("v", maintain_order=True),
    "nan_descending": lambda t: t.sort("v", descending=True, nulls_last=True, maintain_order=True),
    "several_keys": lambda t: t.sort("k", "s", "w", maintain_order=True),
    "several_directions": lambda t: t.sort(["k", "s", "w"], descending=[True, False, True], nulls_last=[False, True, True], maintain_order=True),
    "one_hot_key": lambda t: t.sort("hot", maintain_order=True),
    "hot_then_another": lambda t: t.sort("hot", "w", descending=[True, True], maintain_order=True),
    "sorted_already": lambda t: t.sort("i"),
    "sorted_backwards": lambda t: t.sort("i", descending=True),
    "key_expression": lambda t: t.sort(pl.col("w") % 7, -pl.col("i")),
    "booleans": lambda t: t.sort("b", "i"),
    "strings": lambda t: t.sort("s", "i"),
    "categories": lambda t: t.sort("c", "i"),
    "enums": lambda t: t.sort("e", "i"),
    "decimals": lambda t: t.sort("m", "i", descending=[True, False]),
    "wide_integers": lambda t: t.sort("big", "i"),
    "structs": lambda t: t.sort("st", "i"),
    "sort_then_filter": lambda t: t.sort("w", maintain_order=True).filter(pl.col("k") > 2),
    "sort_then_head": lambda t: t.sort("w", maintain_order=True).head(7),
    "sort_then_tail": lambda t: t.sort("w", maintain_order=True).tail(7),
    "sort_twice": lambda t: t.sort("w", maintain_order=True).sort("k", maintain_order=True),
    "sort_then_index": lambda t: t.sort("w", maintain_order=True).with_row_index(),
    "sort_then_last_of_groups": lambda t: t.sort("w", maintain_order=True).group_by("k").agg(pl.col("i").last(), pl.col("i").alias("all")).sort("k"),
    "only_the_key_kept": lambda t: t.sort("w", "i").select("w"),
    "the_key_dropped": lambda t: t.sort("w", "i").select("v"),
    "after_group_by": lambda t: t.group_by("k").agg(pl.len().alias("n")).sort("n", "k", descending=True),
    "of_nothing": lambda t: t.filter(pl.col("i") > 1000).sort("w"),
    "of_one_row": lambda t: t.filter(pl.col("i") == 30).sort("w"),
    "of_all_null_keys": lambda t: t.with_columns(k=pl.lit(None, dtype=pl.Int32)).sort("k", maintain_order=True),
    "reverse": lambda t: t.reverse(),
    "reverse_of_nothing": lambda t: t.head(0).reverse(),
}


@on_shapes(CASES)
def test_order_equals_polars(session, name):
    check(session, CASES[name], events())


@pytest.mark.parametrize("descending", [thorough(False), True])
def test_every_type_as_sort_key(one_session, descending):
    table = table_of_every_type(30).with_row_index("i")
    check_keys(one_session, lambda t, key: t.sort(key, descending=descending, maintain_order=True).select("i", key), table)


def test_two_sorts_of_one_dataset_in_one_action(session):
    import hpcflow as hf

    dataset = session.from_polars(events()).filter(pl.col("i") >= 0)
    first, second = hf.collect_all([dataset.sort("w", "i"), dataset.sort("v", "i", descending=True)])
    same(first, events().sort("w", "i"))
    same(second, events().sort("v", "i", descending=True))
