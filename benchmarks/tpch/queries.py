"""The 22 questions of TPC-H (specification 3, with its validation parameters) as programs over `tables`: polars.LazyFrame or hpcflow.Dataset alike.

Invariant: nothing here knows which of the two it works on. Results have the specification's columns, rows and order; where its ORDER BY leaves ties
further columns break them, so that two systems can be compared.

    QUESTIONS[6]({name: pl.scan_parquet(folder / f"{name}.parquet") for name in TABLES}).collect()
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from polars import col

TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem")
Tables = Mapping[str, Any]
VOLUME = col("l_extendedprice") * (1 - col("l_discount"))


def day(text: str) -> dt.date:
    """2001-02-03"""
    return dt.date.fromisoformat(text)


def ordered_in(t: Tables, first: str, end: str) -> Any:
    """Orders of the days from `first` until the day before `end`."""
    return t["orders"].filter(col("o_orderdate").is_between(day(first), day(end), closed="left"))


def q1(t: Tables) -> Any:
    """Pricing summary."""
    return (
        t["lineitem"]
        .filter(col("l_shipdate") <= day("1998-09-02"))
        .with_columns(disc_price=VOLUME, charge=VOLUME * (1 + col("l_tax")))
        .group_by("l_returnflag", "l_linestatus")
        .agg(
            sum_qty=col("l_quantity").sum(),
            sum_base_price=col("l_extendedprice").sum(),
            sum_disc_price=col("disc_price").sum(),
            sum_charge=col("charge").sum(),
            avg_qty=col("l_quantity").mean(),
            avg_price=col("l_extendedprice").mean(),
            avg_disc=col("l_discount").mean(),
            count_order=pl.len(),
        )
        .sort("l_returnflag", "l_linestatus")
    )


def q2(t: Tables) -> Any:
    """Suppliers of least cost."""
    europe = (
        t["partsupp"]
        .join(t["supplier"], left_on="ps_suppkey", right_on="s_suppkey")
        .join(t["nation"], left_on="s_nationkey", right_on="n_nationkey")
        .join(t["region"].filter(col("r_name") == "EUROPE"), left_on="n_regionkey", right_on="r_regionkey")
    )
    offers = t["part"].filter((col("p_size") == 15) & col("p_type").str.ends_with("BRASS")).join(europe, left_on="p_partkey", right_on="ps_partkey")
    least = offers.group_by("p_partkey").agg(least=col("ps_supplycost").min())
    return (
        offers.join(least, on="p_partkey")
        .filter(col("ps_supplycost") == col("least"))
        .select("s_acctbal", "s_name", "n_name", "p_partkey", "p_mfgr", "s_address", "s_phone", "s_comment")
        .sort("s_acctbal", "n_name", "s_name", "p_partkey", descending=[True, False, False, False])
        .head(100)
    )


def q3(t: Tables) -> Any:
    """Orders not shipped yet, of the highest value."""
    return (
        t["customer"]
        .filter(col("c_mktsegment") == "BUILDING")
        .join(t["orders"].filter(col("o_orderdate") < day("1995-03-15")), left_on="c_custkey", right_on="o_custkey")
        .join(t["lineitem"].filter(col("l_shipdate") > day("1995-03-15")), left_on="o_orderkey", right_on="l_orderkey")
        .group_by("o_orderkey", "o_orderdate", "o_shippriority")
        .agg(revenue=VOLUME.sum())
        .select(l_orderkey="o_orderkey", revenue="revenue", o_orderdate="o_orderdate", o_shippriority="o_shippriority")
        .sort("revenue", "o_orderdate", "l_orderkey", descending=[True, False, False])
        .head(10)
    )


def q4(t: Tables) -> Any:
    """Order priorities."""
    late = t["lineitem"].filter(col("l_commitdate") < col("l_receiptdate"))
    return (
        t["orders"]
        .filter(col("o_orderdate").is_between(day("1993-07-01"), day("1993-10-01"), closed="left"))
        .join(late, left_on="o_orderkey", right_on="l_orderkey", how="semi")
        .group_by("o_orderpriority")
        .agg(order_count=pl.len())
        .sort("o_orderpriority")
    )


def q5(t: Tables) -> Any:
    """Volume of suppliers in their own nation."""
    return (
        t["region"]
        .filter(col("r_name") == "ASIA")
        .join(t["nation"], left_on="r_regionkey", right_on="n_regionkey")
        .join(t["customer"], left_on="n_nationkey", right_on="c_nationkey")
        .join(
            t["orders"].filter(col("o_orderdate").is_between(day("1994-01-01"), day("1995-01-01"), closed="left")),
            left_on="c_custkey",
            right_on="o_custkey",
        )
        .join(t["lineitem"], left_on="o_orderkey", right_on="l_orderkey")
        .join(t["supplier"], left_on=["l_suppkey", "n_nationkey"], right_on=["s_suppkey", "s_nationkey"])
        .group_by("n_name")
        .agg(revenue=VOLUME.sum())
        .sort("revenue", "n_name", descending=[True, False])
    )


def q6(t: Tables) -> Any:
    """Revenue that a discount has cost."""
    lines = t["lineitem"].filter(
        col("l_shipdate").is_between(day("1994-01-01"), day("1995-01-01"), closed="left"),
        col("l_discount").cast(pl.Float64).is_between(0.05 - 1e-9, 0.07 + 1e-9),
        col("l_quantity") < 24,
    )
    return lines.select(revenue=(col("l_extendedprice") * col("l_discount")).sum())


def q7(t: Tables) -> Any:
    """Volume shipped between France and Germany."""
    pair = ["FRANCE", "GERMANY"]
    nations = t["nation"].filter(col("n_name").is_in(pair)).select("n_nationkey", "n_name")
    sellers = t["supplier"].join(nations.rename({"n_name": "supp_nation"}), left_on="s_nationkey", right_on="n_nationkey")
    buyers = t["customer"].join(nations.rename({"n_name": "cust_nation"}), left_on="c_nationkey", right_on="n_nationkey")
    return (
        t["lineitem"]
        .filter(col("l_shipdate").is_between(day("1995-01-01"), day("1996-12-31")))
        .join(sellers, left_on="l_suppkey", right_on="s_suppkey")
        .join(t["orders"], left_on="l_orderkey", right_on="o_orderkey")
        .join(buyers, left_on="o_custkey", right_on="c_custkey")
        .filter(col("supp_nation") != col("cust_nation"))
        .group_by("supp_nation", "cust_nation", l_year=col("l_shipdate").dt.year())
        .agg(revenue=VOLUME.sum())
        .sort("supp_nation", "cust_nation", "l_year")
    )


def q8(t: Tables) -> Any:
    """Brazil's share of the market."""
    america = t["region"].filter(col("r_name") == "AMERICA").join(t["nation"], left_on="r_regionkey", right_on="n_regionkey").select("n_nationkey")
    makers = t["supplier"].join(t["nation"].select("n_nationkey", nation="n_name"), left_on="s_nationkey", right_on="n_nationkey")
    return (
        t["part"]
        .filter(col("p_type") == "ECONOMY ANODIZED STEEL")
        .join(t["lineitem"], left_on="p_partkey", right_on="l_partkey")
        .join(t["orders"].filter(col("o_orderdate").is_between(day("1995-01-01"), day("1996-12-31"))), left_on="l_orderkey", right_on="o_orderkey")
        .join(t["customer"].join(america, left_on="c_nationkey", right_on="n_nationkey", how="semi"), left_on="o_custkey", right_on="c_custkey")
        .join(makers, left_on="l_suppkey", right_on="s_suppkey")
        .select("nation", o_year=col("o_orderdate").dt.year(), volume=VOLUME.cast(pl.Float64))
        .group_by("o_year")
        .agg(mkt_share=col("volume").filter(col("nation") == "BRAZIL").sum() / col("volume").sum())
        .sort("o_year")
    )


def q9(t: Tables) -> Any:
    """Profit by nation and year."""
    return (
        t["part"]
        .filter(col("p_name").str.contains("green", literal=True))
        .join(t["partsupp"], left_on="p_partkey", right_on="ps_partkey")
        .join(t["supplier"], left_on="ps_suppkey", right_on="s_suppkey")
        .join(t["lineitem"], left_on=["p_partkey", "ps_suppkey"], right_on=["l_partkey", "l_suppkey"])
        .join(t["orders"], left_on="l_orderkey", right_on="o_orderkey")
        .join(t["nation"], left_on="s_nationkey", right_on="n_nationkey")
        .select(nation="n_name", o_year=col("o_orderdate").dt.year(), amount=VOLUME - col("ps_supplycost") * col("l_quantity"))
        .group_by("nation", "o_year")
        .agg(sum_profit=col("amount").sum())
        .sort("nation", "o_year", descending=[False, True])
    )


def q10(t: Tables) -> Any:
    """Customers who return goods."""
    return (
        t["customer"]
        .join(
            t["orders"].filter(col("o_orderdate").is_between(day("1993-10-01"), day("1994-01-01"), closed="left")),
            left_on="c_custkey",
            right_on="o_custkey",
        )
        .join(t["lineitem"].filter(col("l_returnflag") == "R"), left_on="o_orderkey", right_on="l_orderkey")
        .join(t["nation"], left_on="c_nationkey", right_on="n_nationkey")
        .group_by("c_custkey", "c_name", "c_acctbal", "c_phone", "n_name", "c_address", "c_comment")
        .agg(revenue=VOLUME.sum())
        .select("c_custkey", "c_name", "revenue", "c_acctbal", "n_name", "c_address", "c_phone", "c_comment")
        .sort("revenue", "c_custkey", descending=[True, False])
        .head(20)
    )


def q11(t: Tables, fraction: float = 0.0001) -> Any:
    """Important stock of Germany."""
    stock = (
        t["partsupp"]
        .join(t["supplier"], left_on="ps_suppkey", right_on="s_suppkey")
        .join(t["nation"].filter(col("n_name") == "GERMANY"), left_on="s_nationkey", right_on="n_nationkey")
        .select("ps_partkey", value=(col("ps_supplycost") * col("ps_availqty")).cast(pl.Float64))
    )
    return (
        stock.group_by("ps_partkey")
        .agg(col("value").sum())
        .join(stock.select(least=col("value").sum() * fraction), how="cross")
        .filter(col("value") > col("least"))
        .select("ps_partkey", "value")
        .sort("value", "ps_partkey", descending=[True, False])
    )


def q12(t: Tables) -> Any:
    """Ways of shipping and priorities."""
    urgent = col("o_orderpriority").is_in(["1-URGENT", "2-HIGH"])
    return (
        t["lineitem"]
        .filter(
            col("l_shipmode").is_in(["MAIL", "SHIP"]),
            col("l_commitdate") < col("l_receiptdate"),
            col("l_shipdate") < col("l_commitdate"),
            col("l_receiptdate").is_between(day("1994-01-01"), day("1995-01-01"), closed="left"),
        )
        .join(t["orders"], left_on="l_orderkey", right_on="o_orderkey")
        .group_by("l_shipmode")
        .agg(high_line_count=urgent.sum(), low_line_count=(~urgent).sum())
        .sort("l_shipmode")
    )


def q13(t: Tables) -> Any:
    """How many customers have how many orders."""
    orders = t["orders"].filter(~col("o_comment").str.contains("special.*requests"))
    return (
        t["customer"]
        .join(orders, left_on="c_custkey", right_on="o_custkey", how="left")
        .group_by("c_custkey")
        .agg(c_count=col("o_orderkey").count())
        .group_by("c_count")
        .agg(custdist=pl.len())
        .sort("custdist", "c_count", descending=True)
    )


def q14(t: Tables) -> Any:
    """What promotion brings."""
    return (
        t["lineitem"]
        .filter(col("l_shipdate").is_between(day("1995-09-01"), day("1995-10-01"), closed="left"))
        .join(t["part"], left_on="l_partkey", right_on="p_partkey")
        .select("p_type", volume=VOLUME.cast(pl.Float64))
        .select(promo_revenue=100 * col("volume").filter(col("p_type").str.starts_with("PROMO")).sum() / col("volume").sum())
    )


def q15(t: Tables) -> Any:
    """The best supplier."""
    revenue = (
        t["lineitem"]
        .filter(col("l_shipdate").is_between(day("1996-01-01"), day("1996-04-01"), closed="left"))
        .group_by("l_suppkey")
        .agg(total_revenue=VOLUME.sum())
    )
    return (
        revenue.filter(col("total_revenue") == col("total_revenue").max())
        .join(t["supplier"], left_on="l_suppkey", right_on="s_suppkey")
        .select(s_suppkey="l_suppkey", s_name="s_name", s_address="s_address", s_phone="s_phone", total_revenue="total_revenue")
        .sort("s_suppkey")
    )


def q16(t: Tables) -> Any:
    """How many suppliers have which parts."""
    complained = t["supplier"].filter(col("s_comment").str.contains("Customer.*Complaints"))
    return (
        t["part"]
        .filter(col("p_brand") != "Brand#45", ~col("p_type").str.starts_with("MEDIUM POLISHED"), col("p_size").is_in([49, 14, 23, 45, 19, 3, 36, 9]))
        .join(t["partsupp"], left_on="p_partkey", right_on="ps_partkey")
        .join(complained, left_on="ps_suppkey", right_on="s_suppkey", how="anti")
        .group_by("p_brand", "p_type", "p_size")
        .agg(supplier_cnt=col("ps_suppkey").n_unique())
        .sort("supplier_cnt", "p_brand", "p_type", "p_size", descending=[True, False, False, False])
    )


def q17(t: Tables) -> Any:
    """Revenue of small orders."""
    parts = t["part"].filter(col("p_brand") == "Brand#23", col("p_container") == "MED BOX").select("p_partkey")
    lines = parts.join(t["lineitem"], left_on="p_partkey", right_on="l_partkey").with_columns(quantity=col("l_quantity").cast(pl.Float64))
    small = lines.group_by("p_partkey").agg(small=0.2 * col("quantity").mean())
    return (
        lines.join(small, on="p_partkey")
        .filter(col("quantity") < col("small"))
        .select(avg_yearly=col("l_extendedprice").cast(pl.Float64).sum() / 7.0)
    )


def q18(t: Tables) -> Any:
    """Customers with large orders."""
    large = t["lineitem"].group_by("l_orderkey").agg(quantity=col("l_quantity").sum()).filter(col("quantity") > 300)
    return (
        t["orders"]
        .join(large, left_on="o_orderkey", right_on="l_orderkey")
        .join(t["customer"], left_on="o_custkey", right_on="c_custkey")
        .select("c_name", c_custkey="o_custkey", o_orderkey="o_orderkey", o_orderdate="o_orderdate", o_totalprice="o_totalprice", quantity="quantity")
        .sort("o_totalprice", "o_orderdate", "o_orderkey", descending=[True, False, False])
        .head(100)
    )


def q19(t: Tables) -> Any:
    """Revenue of three kinds of parts."""

    def kind(brand: str, containers: list[str], least: int, size: int) -> pl.Expr:
        quantity = col("l_quantity").is_between(least, least + 10)
        return (col("p_brand") == brand) & col("p_container").is_in(containers) & quantity & col("p_size").is_between(1, size)

    kinds = (
        kind("Brand#12", ["SM CASE", "SM BOX", "SM PACK", "SM PKG"], 1, 5)
        | kind("Brand#23", ["MED BAG", "MED BOX", "MED PKG", "MED PACK"], 10, 10)
        | kind("Brand#34", ["LG CASE", "LG BOX", "LG PACK", "LG PKG"], 20, 15)
    )
    return (
        t["lineitem"]
        .filter(col("l_shipmode").is_in(["AIR", "AIR REG"]), col("l_shipinstruct") == "DELIVER IN PERSON")
        .join(t["part"], left_on="l_partkey", right_on="p_partkey")
        .filter(kinds)
        .select(revenue=VOLUME.sum())
    )


def q20(t: Tables) -> Any:
    """Suppliers with too much of something."""
    shipped = (
        t["lineitem"]
        .filter(col("l_shipdate").is_between(day("1994-01-01"), day("1995-01-01"), closed="left"))
        .group_by("l_partkey", "l_suppkey")
        .agg(half=0.5 * col("l_quantity").cast(pl.Float64).sum())
    )
    forest = t["part"].filter(col("p_name").str.starts_with("forest")).select("p_partkey")
    holders = (
        t["partsupp"]
        .join(forest, left_on="ps_partkey", right_on="p_partkey", how="semi")
        .join(shipped, left_on=["ps_partkey", "ps_suppkey"], right_on=["l_partkey", "l_suppkey"])
        .filter(col("ps_availqty") > col("half"))
    )
    return (
        t["supplier"]
        .join(t["nation"].filter(col("n_name") == "CANADA"), left_on="s_nationkey", right_on="n_nationkey")
        .join(holders, left_on="s_suppkey", right_on="ps_suppkey", how="semi")
        .select("s_name", "s_address")
        .sort("s_name")
    )


def q21(t: Tables) -> Any:
    """Suppliers who kept orders waiting."""
    by_order = t["lineitem"].group_by("l_orderkey").agg(suppliers=col("l_suppkey").n_unique()).filter(col("suppliers") > 1)
    late = t["lineitem"].filter(col("l_receiptdate") > col("l_commitdate"))
    late_alone = late.group_by("l_orderkey").agg(late=col("l_suppkey").n_unique()).filter(col("late") == 1)
    return (
        late.join(by_order, on="l_orderkey", how="semi")
        .join(late_alone, on="l_orderkey", how="semi")
        .join(t["orders"].filter(col("o_orderstatus") == "F"), left_on="l_orderkey", right_on="o_orderkey", how="semi")
        .join(t["supplier"], left_on="l_suppkey", right_on="s_suppkey")
        .join(t["nation"].filter(col("n_name") == "SAUDI ARABIA"), left_on="s_nationkey", right_on="n_nationkey", how="semi")
        .group_by("s_name")
        .agg(numwait=pl.len())
        .sort("numwait", "s_name", descending=[True, False])
        .head(100)
    )


def q22(t: Tables) -> Any:
    """Customers who might buy again."""
    people = (
        t["customer"]
        .select("c_custkey", cntrycode=col("c_phone").str.slice(0, 2), balance=col("c_acctbal").cast(pl.Float64))
        .filter(col("cntrycode").is_in(["13", "31", "23", "29", "30", "18", "17"]))
    )
    mean = people.filter(col("balance") > 0.0).select(mean=col("balance").mean())
    return (
        people.join(t["orders"], left_on="c_custkey", right_on="o_custkey", how="anti")
        .join(mean, how="cross")
        .filter(col("balance") > col("mean"))
        .group_by("cntrycode")
        .agg(numcust=pl.len(), totacctbal=col("balance").sum())
        .sort("cntrycode")
    )


QUESTIONS: dict[int, Callable[[Tables], Any]] = {
    1: q1, 2: q2, 3: q3, 4: q4, 5: q5, 6: q6, 7: q7, 8: q8, 9: q9, 10: q10, 11: q11,
    12: q12, 13: q13, 14: q14, 15: q15, 16: q16, 17: q17, 18: q18, 19: q19, 20: q20, 21: q21, 22: q22,
}  # fmt: skip
