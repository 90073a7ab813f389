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
    """Write groups.parquet (k100, k100k strings; i100k ints; v), left.parquet and right.parquet (k, v / w), and order.parquet (k, v), unless they are there."""
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / f"made-{rows}"
    if done.exists():
        return
    rng = np.random.default_rng(7)
    hundred, many = rng.integers(0, 100, rows), rng.integers(0, 100_000, rows)
    pl.DataFrame(
        {
            "k100": pl.Series(hundred).cast(pl.String).str.zfill(3).map_elements(lambda s: "group-" + s, return_dtype=pl.String)
            if rows < 1000
            else pl.Series("k100", ["group-" + str(i).zfill(3) for i in range(100)])[hundred],
            "k100k": pl.Series("k100k", ["customer-" + str(i).zfill(8) for i in range(100_000)])[many],
            "i100k": rng.integers(0, 100_000, rows),
            "v": rng.random(rows),
        }
    ).write_parquet(directory / "groups.parquet", row_group_size=rows // 20)
    for name, value in (("left", "v"), ("right", "w")):
        pl.DataFrame({"k": rng.permutation(rows), value: rng.random(rows)}).write_parquet(directory / f"{name}.parquet", row_group_size=rows // 20)
    pl.DataFrame({"k": rng.integers(0, 2**62, rows), "v": rng.random(rows)}).write_parquet(directory / "order.parquet", row_group_size=rows // 20)
    done.touch()


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else ROWS)
