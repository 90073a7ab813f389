"""Spark's own k-means (pyspark.ml), local[2], on a cached table of vectors. It takes no first centres: it draws them, so its centres differ."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from benchmarks.peers.serve import Workload, serve

if __name__ == "__main__":
    folder, iterations = Path(sys.argv[1]), int(os.environ["K_MEANS_ITERATIONS"])
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    table = session.read.parquet(str(folder / "points.parquet"))
    points = VectorAssembler(inputCols=table.columns, outputCol="features").transform(table).select("features").repartition(2).cache()
    points.count()
    k = len(np.load(folder / "centres.npy"))

    def run() -> tuple[list[object], int]:
        model = KMeans(k=k, initMode="random", seed=1, maxIter=iterations, tol=0.0).fit(points)
        found = model.clusterCenters()
        return found, len(found)

    serve(f"spark {session.version}, local[2], 6g heap", {"k_means": Workload(run, lambda kept: {})})
    session.stop()
