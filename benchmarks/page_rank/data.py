"""The links that every system gets: links.parquet (src, dst; int64, 20 row groups), each pair once; few vertices get many links."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl


def make(directory: Path, vertices: int, edges: int) -> None:
    """Write the file unless it is there."""
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / "made"
    if done.exists():
        return
    random = np.random.default_rng(5)
    drawn = edges + edges // 20  # some pairs are drawn twice
    src = random.integers(0, vertices, drawn)
    dst = (vertices * random.random(drawn) ** 2).astype(np.int64)
    links = pl.DataFrame({"src": src, "dst": dst}).unique(maintain_order=True).head(edges)
    links.write_parquet(directory / "links.parquet", row_group_size=max(1, edges // 20))
    done.touch()
