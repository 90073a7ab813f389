"""Checks what a user's partitioner returned, before a wrong number can reach the exchange.

checked_ids(np.array([0, 2, 1]), rows=3, partitions=3, name="by_region")     # uint32[3]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hpcflow.errors import SchemaError

Ids = npt.NDArray[np.uint32]


def checked_ids(returned: Any, rows: int, partitions: int, name: str) -> Ids:
    """What a user's partitioner returned as uint32[rows], or a SchemaError that says what is wrong with it."""
    if isinstance(returned, pl.Series) and returned.null_count():
        raise SchemaError(f"partitioner {name} returned {returned.null_count()} nulls; every row needs a partition")
    ids = np.asarray(returned)
    if ids.size == 0 and rows == 0:
        return np.zeros(0, dtype=np.uint32)
    if ids.ndim != 1 or len(ids) != rows:
        raise SchemaError(f"partitioner {name} returned an array of shape {ids.shape} for {rows} rows; return one integer a row")
    if ids.dtype.kind not in "iu":
        raise SchemaError(f"partitioner {name} returned {ids.dtype}; return integers from 0 to {partitions - 1}")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= partitions:
        row = int(np.argmax((ids < 0) | (ids >= partitions)))
        raise SchemaError(f"partitioner {name} returned partition {ids[row]} for row {row}; partitions are 0 to {partitions - 1}")
    return np.ascontiguousarray(ids, dtype=np.uint32)
