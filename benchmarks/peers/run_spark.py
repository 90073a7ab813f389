"""Spark, local[2]: from file to a DataFrame in storage memory (`cache`), filled by its `count`.

8 shuffle partitions instead of 200: with 2 cores the default would tell of 200 tasks, not of Spark.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from benchmarks.peers.serve import GROUP_BY, SUMS, Workload, serve


def workloads(spark: SparkSession, data: str) -> dict[str, Workload]:
    """Name -> workload."""

    def read(name: str) -> DataFrame:
        return spark.read.parquet(f"{data}/{name}.parquet")

    def group(key: str) -> Callable[[], DataFrame]:
        return lambda: read("groups").groupBy(key).agg(f.sum("v").alias("s"), f.avg("v").alias("m"), f.count("*").alias("n"))

    made: dict[str, Callable[[], DataFrame]] = {name: group(key) for name, key in GROUP_BY.items()}
    made["join"] = lambda: read("left").join(read("right"), on="k")
    made["sort"] = lambda: read("order").sort("k")
    made["repartition"] = lambda: read("left").repartition("k")
    return {name: Workload(_keep(make), _sums(name), lambda kept: kept.unpersist(blocking=True)) for name, make in made.items()}


def _keep(make: Callable[[], DataFrame]) -> Callable[[], tuple[DataFrame, int]]:
    def run() -> tuple[DataFrame, int]:
        kept = make().cache()
        return kept, kept.count()

    return run


def _sums(name: str) -> Callable[[DataFrame], Mapping[str, float]]:
    def sums(kept: DataFrame) -> Mapping[str, float]:
        row: Any = kept.select(*(f.sum(f.col(c).cast("double")).alias(c) for c in SUMS[name])).first()
        found: dict[str, float] = row.asDict()
        return found | ({"first": kept.first()["k"], "last": kept.tail(1)[0]["k"]} if name == "sort" else {})

    return sums


if __name__ == "__main__":
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "8")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    serve(f"spark {session.version}, local[2], 6g heap", workloads(session, sys.argv[1]))
    session.stop()
