"""A second oracle: DuckDB's answers to the same questions in SQL."""

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.api.oracle import colours, events
from tests.thorough import spread

QUESTIONS = {
    "SELECT s, sum(w)::BIGINT AS w, count(*) AS n, min(i) AS i FROM t WHERE k > 1 GROUP BY s": lambda t, c: (
        t.filter(pl.col("k") > 1).group_by("s").agg(pl.col("w").cast(pl.Int64).sum(), pl.len().cast(pl.Int64).alias("n"), pl.col("i").min())
    ),
    "SELECT t.i, c.z FROM t JOIN c ON t.k = c.k": lambda t, c: t.join(c, on="k").select("i", "z"),
    "SELECT t.i, c.z FROM t LEFT JOIN c ON t.k = c.k AND t.s = c.s": lambda t, c: t.join(c, on=["k", "s"], how="left").select("i", "z"),
    "SELECT t.i, c.z FROM t FULL JOIN c ON t.k = c.k": lambda t, c: t.join(c, on="k", how="full").select("i", "z"),
    "SELECT i FROM t WHERE k IN (SELECT k FROM c)": lambda t, c: t.join(c, on="k", how="semi").select("i"),
    "SELECT i FROM t WHERE NOT EXISTS (SELECT 1 FROM c WHERE c.k = t.k)": lambda t, c: t.join(c, on="k", how="anti").select("i"),
    "SELECT DISTINCT k, b FROM t": lambda t, c: t.select("k", "b").unique(),
    "SELECT i, sum(w) OVER (PARTITION BY k)::BIGINT AS x FROM t": lambda t, c: t.select("i", x=pl.col("w").cast(pl.Int64).sum().over("k")),
    "SELECT i, avg(w) OVER (PARTITION BY k) AS x FROM t": lambda t, c: t.select("i", x=pl.col("w").mean().over("k")),
    "SELECT i FROM t WHERE w > (SELECT avg(w) FROM t)": lambda t, c: t.filter(pl.col("w") > pl.col("w").mean()).select("i"),
    "SELECT z, count(*) AS n, var_samp(w) AS v FROM t JOIN c USING (k) GROUP BY z HAVING count(*) > 2": lambda t, c: (
        t.join(c, on="k").group_by("z").agg(pl.len().cast(pl.Int64).alias("n"), pl.col("w").var().alias("v")).filter(pl.col("n") > 2)
    ),
    "SELECT i FROM (SELECT i, w FROM t ORDER BY w DESC, i LIMIT 9)": lambda t, c: t.sort("w", "i", descending=[True, False]).head(9).select("i"),
    "SELECT median(w) AS m, stddev_pop(w) AS s, count(k) AS n FROM t": lambda t, c: t.select(
        m=pl.col("w").median(), s=pl.col("w").std(ddof=0), n=pl.col("k").count().cast(pl.Int64)
    ),
    "SELECT i FROM t UNION ALL SELECT k FROM c": lambda t, c: _union(t.select("i"), c.select(i=pl.col("k").cast(pl.Int64))),
}


def _union(a, b):
    import hpcflow as hf

    return hf.concat([a, b])


@pytest.mark.parametrize("sql", spread(QUESTIONS, every=2))
def test_duckdb_says_the_same(session, sql):
    table, other = events().select("i", "k", "s", "w", "b"), colours()
    with duckdb.connect() as connection:
        connection.register("t", table.to_arrow())
        connection.register("c", other.to_arrow())
        want = pl.DataFrame(connection.execute(sql).to_arrow_table())
    got = QUESTIONS[sql](session.from_polars(table), session.from_polars(other)).collect()
    assert_frame_equal(got.sort(pl.all()), want.sort(pl.all()), check_dtypes=False, rel_tol=1e-9)
