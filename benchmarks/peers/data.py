"""The Parquet files that every system reads: the five table workloads of the design and a repartition.

python benchmarks/peers/data.py DIRECTORY [ROWS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

ROWS = 10_000_000


def make(directory: Path, rows: int = ROWS) -> None:
    """Write groups.parquet (strings k100, k100k; ints i100k; v), left.parquet and right.parquet (k: a permutation; v / w), order.parquet (k, v),
    in 20 row groups each, unless they are there."""
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / f"made-{rows}"
    if done.exists():
        return
    rng = np.random.default_rng(7)
    group = max(1, rows // 20)
    hundred, many = rng.integers(0, 100, rows), rng.integers(0, 100_000, rows)
    pl.DataFrame(
        {
            "k100": pl.Series("k100", ["group-" + str(i).zfill(3) for i in range(100)])[hundred],
            "k100k": pl.Series("k100k", ["customer-" + str(i).zfill(8) for i in range(100_000)])[many],
            "i100k": rng.integers(0, 100_000, rows),
            "v": rng.random(rows),
        }
    ).write_parquet(directory / "groups.parquet", row_group_size=group)
    for name, value in (("left", "v"), ("right", "w")):
        pl.DataFrame({"k": rng.permutation(rows), value: rng.random(rows)}).write_parquet(directory / f"{name}.parquet", row_group_size=group)
    pl.DataFrame({"k": rng.integers(0, 2**62, rows), "v": rng.random(rows)}).write_parquet(directory / "order.parquet", row_group_size=group)
    done.touch()


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else ROWS)
