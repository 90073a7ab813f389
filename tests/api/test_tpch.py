"""The 22 questions of TPC-H against Polars, on small tables of random rows in which every question finds something."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from benchmarks.tpch.queries import QUESTIONS
from hpcflow.testing.session import InProcessSession
from tests.api.oracle import same
from tests.thorough import spread, thorough

NATIONS = ["FRANCE", "GERMANY", "BRAZIL", "CANADA", "SAUDI ARABIA", "INDIA", "CHINA", "PERU"]
REGIONS = ["EUROPE", "ASIA", "AMERICA"]
MONEY = pl.Decimal(15, 2)


def tables(seed: int = 3, orders: int = 1500) -> dict[str, pl.DataFrame]:
    """The eight tables, as many lines as a few of each order."""
    random = np.random.default_rng(seed)

    def pick(values: list, size: int) -> list:
        return [values[i] for i in random.integers(0, len(values), size)]

    def numbers(low: int, high: int, size: int) -> pl.Series:
        return pl.Series(random.integers(low, high, size))

    def money(low: int, high: int, size: int) -> pl.Series:
        return (pl.Series(random.integers(100 * low, 100 * high, size)) / 100).cast(MONEY)

    def days(first: str, size: int, span: int) -> pl.Series:
        return pl.Series([dt.date.fromisoformat(first) + dt.timedelta(int(n)) for n in random.integers(0, span, size)], dtype=pl.Date)

    suppliers, customers, parts, offers, lines = 40, 300, 120, 480, 4 * orders
    offered_part, offered_by = np.repeat(np.arange(parts), 4), (np.repeat(np.arange(parts), 4) * 7 + np.tile(np.arange(4), parts) * 11) % suppliers
    offer = random.integers(0, offers, lines)
    shipped = days("1993-06-01", lines, 1500)
    return {
        "region": pl.DataFrame({"r_regionkey": range(3), "r_name": REGIONS}),
        "nation": pl.DataFrame({"n_nationkey": range(8), "n_name": NATIONS, "n_regionkey": [0, 0, 2, 2, 1, 1, 1, 2]}),
        "supplier": pl.DataFrame(
            {
                "s_suppkey": range(suppliers), "s_name": [f"Supplier {n}" for n in range(suppliers)], "s_address": pick(["a", "b"], suppliers),
                "s_nationkey": numbers(0, 8, suppliers), "s_phone": pick(["1", "2"], suppliers), "s_acctbal": money(-99, 999, suppliers),
                "s_comment": pick(["fine", "slow Customer Complaints", None], suppliers),
            }
        ),
        "customer": pl.DataFrame(
            {
                "c_custkey": range(customers), "c_name": [f"Customer {n}" for n in range(customers)], "c_address": pick(["a", "b"], customers),
                "c_nationkey": numbers(0, 8, customers), "c_phone": pick(["13-1", "31-2", "99-3", "30-4"], customers),
                "c_acctbal": money(-99, 999, customers), "c_mktsegment": pick(["BUILDING", "MACHINERY"], customers),
                "c_comment": pick(["x", "y"], customers),
            }
        ),
        "part": pl.DataFrame(
            {
                "p_partkey": range(parts), "p_name": pick(["green leaf", "forest moss", "red"], parts), "p_mfgr": pick(["M1", "M2"], parts),
                "p_brand": pick(["Brand#12", "Brand#23", "Brand#34", "Brand#45"], parts),
                "p_type": pick(["ECONOMY ANODIZED STEEL", "PROMO BRASS", "MEDIUM POLISHED TIN"], parts), "p_size": pick([1, 3, 15, 9], parts),
                "p_container": pick(["SM CASE", "MED BOX", "LG PKG"], parts),
            },
            schema_overrides={"p_size": pl.Int32},
        ),
        "partsupp": pl.DataFrame(
            {
                "ps_partkey": offered_part, "ps_suppkey": offered_by, "ps_availqty": numbers(1, 200, offers).cast(pl.Int32),
                "ps_supplycost": money(1, 50, offers),
            }
        ),
        "orders": pl.DataFrame(
            {
                "o_orderkey": range(orders), "o_custkey": numbers(0, customers * 2 // 3, orders), "o_orderstatus": pick(["F", "O"], orders),
                "o_totalprice": money(1, 9999, orders), "o_orderdate": days("1993-05-01", orders, 1400),
                "o_orderpriority": pick(["1-URGENT", "2-HIGH", "5-LOW"], orders), "o_shippriority": [0] * orders,
                "o_comment": pick(["plain", "special packages and requests"], orders),
            }
        ),
        "lineitem": pl.DataFrame(
            {
                "l_orderkey": numbers(0, orders, lines), "l_partkey": offered_part[offer], "l_suppkey": offered_by[offer],
                "l_quantity": money(1, 120, lines), "l_extendedprice": money(100, 9999, lines), "l_discount": money(0, 1, lines) / 10,
                "l_tax": money(0, 1, lines) / 10, "l_returnflag": pick(["R", "A", "N"], lines), "l_linestatus": pick(["F", "O"], lines),
                "l_shipdate": shipped, "l_commitdate": shipped + pl.Series(random.integers(-20, 40, lines) * 86_400_000_000).cast(pl.Duration),
                "l_receiptdate": shipped + pl.Series(random.integers(1, 30, lines) * 86_400_000_000).cast(pl.Duration),
                "l_shipinstruct": pick(["DELIVER IN PERSON", "NONE"], lines), "l_shipmode": pick(["AIR", "MAIL", "SHIP"], lines),
            }
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Parquet files of several row groups, and the answers of Polars."""
    folder = tmp_path_factory.mktemp("tpch")
    made = tables()
    for name, table in made.items():
        table.write_parquet(folder / f"{name}.parquet", row_group_size=max(20, table.height // 5))
    lazy = {name: table.lazy() for name, table in made.items()}
    return folder, {number: question(lazy).collect() for number, question in QUESTIONS.items()}


SESSIONS = [pytest.param({"workers": 3}, id="3x1"), thorough({"workers": 2, "threads": 2, "broadcast_threshold_bytes": 0}, id="2x2")]


@pytest.fixture(scope="module", params=SESSIONS)
def session(request):
    with InProcessSession(progress="off", target_split_bytes=20_000, **request.param) as session:
        yield session


@pytest.mark.parametrize("number", spread(QUESTIONS, every=6))
def test_the_answer_is_that_of_polars(session, files, number):
    folder, answers = files
    data = {path.stem: session.read_parquet(path) for path in folder.iterdir()}
    assert answers[number].height > 0
    same(QUESTIONS[number](data).collect(), answers[number])
