"""The points and first centres that every system gets: points.parquet (x0, x1, ...; float64, 20 row groups) and centres.npy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl


def make(directory: Path, points: int, dimensions: int, centres: int) -> None:
    """Write the files unless they are there."""
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / "made"
    if done.exists():
        return
    random = np.random.default_rng(11)
    places = random.uniform(-10, 10, (centres, dimensions))
    matrix = places[random.integers(0, centres, points)] + random.normal(0, 3.0, (points, dimensions))
    table = pl.DataFrame({f"x{i}": np.ascontiguousarray(matrix[:, i]) for i in range(dimensions)})
    table.write_parquet(directory / "points.parquet", row_group_size=max(1, points // 20))
    np.save(directory / "centres.npy", matrix[random.choice(points, centres, replace=False)])
    done.touch()
