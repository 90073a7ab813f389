"""The first thing to break: one program through every layer, in seconds."""

import polars as pl

import hpcflow as hf


def test_filter_join_group_sort_collect():
    sales = pl.DataFrame({"shop": [1, 2, 1, 3, 2, 1], "price": [5.0, 8.0, None, 1.0, 2.0, 4.0]})
    shops = pl.DataFrame({"shop": [1, 2, 3], "town": ["Linz", "Graz", "Wels"]})

    def program(sales, shops):
        paid = sales.filter(pl.col("price").is_not_null())
        return paid.join(shops, on="shop").group_by("town").agg(pl.len().alias("n"), pl.col("price").mean()).sort("price", descending=True)

    with hf.Session(workers=2, progress="off") as session:
        got = program(session.from_polars(sales), session.from_polars(shops)).collect()
    assert got.equals(program(sales.lazy(), shops.lazy()).collect())
    assert got["town"].to_list() == ["Graz", "Linz", "Wels"]
