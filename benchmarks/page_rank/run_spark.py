"""Spark, local[2]: the same steps as DataFrames, on links that are cached in the partitions of their start, with 8 shuffle partitions."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from benchmarks.peers.serve import Workload, serve

if __name__ == "__main__":
    folder, iterations = Path(sys.argv[1]), int(os.environ["PAGE_RANK_ITERATIONS"])
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
    links = session.read.parquet(str(folder / "links.parquet")).cache()
    links.count()

    def run() -> tuple[DataFrame, int]:
        shared = links.join(links.groupBy("src").agg(f.count("*").alias("out")), on="src").repartition(8, "src").cache()
        ends = links.select(f.col("src").alias("vertex")).union(links.select("dst")).distinct()
        ranks = ends.withColumn("rank", f.lit(1.0)).repartition(8, "vertex").localCheckpoint()
        for _ in range(iterations):  # checkpointed each time: Spark would compute, or at least plan, all earlier iterations again
            given = ranks.join(shared, ranks["vertex"] == shared["src"]).groupBy("dst").agg(f.sum(f.col("rank") / f.col("out")).alias("given"))
            joined = ranks.select("vertex").join(given, ranks["vertex"] == given["dst"], "left")
            ranks = joined.select("vertex", (0.15 + 0.85 * f.coalesce(f.col("given"), f.lit(0.0))).alias("rank")).localCheckpoint()
        shared.unpersist()
        return ranks, ranks.count()

    def sums(ranks: DataFrame) -> dict[str, float]:
        found: dict[str, float] = ranks.select(f.sum("rank").alias("rank"), f.max("rank").alias("most")).first().asDict()  # type: ignore[union-attr]
        return found

    serve(f"spark {session.version}, local[2], 6g heap", {"page_rank": Workload(run, sums)})
    session.stop()
