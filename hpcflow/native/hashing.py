"""Row hashes and hash partitions.

Invariant: a row's hash depends on its values, their order and the seed only: not on width, encoding, chunks or slices, nor on the CPU. -0.0 hashes
as 0.0, every NaN as one value, null as a value of its own; categoricals and Enums hash as their strings. `hpcflow.native.reference` says the same
in NumPy.

    >>> import polars as pl
    >>> bool(hash_rows(pl.DataFrame({"k": [5]}))[0] == hash_rows(pl.DataFrame({"k": [5]}, schema={"k": pl.Int8}))[0])
    True
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hpcflow.errors import ConfigError
from hpcflow.native import _kernels
from hpcflow.native.tables import ArrowStream, kernel_table

MAX_PARTITIONS = 1 << 31


def hash_rows(columns: pl.DataFrame | ArrowStream, seed: int = 0) -> NDArray[np.uint64]:
    """uint64[rows]: one well-mixed hash per row of the key columns. `seed` is any integer (its low 64 bits count).

    Raises `SchemaError` for a column without a kernel.
    """
    table = kernel_table(columns)
    hashes = np.empty(table.rows, dtype=np.uint64)
    _kernels.hash_rows(table, seed & 0xFFFFFFFFFFFFFFFF, hashes)
    return hashes


def partition_ids_from_hashes(hashes: NDArray[np.uint64], partitions: int) -> NDArray[np.uint32]:
    """uint32[rows] in [0, partitions): (high 32 bits x partitions) >> 32, never the value mod partitions."""
    check_partitions(partitions)
    hashes = np.ascontiguousarray(hashes, dtype=np.uint64)
    ids = np.empty(len(hashes), dtype=np.uint32)
    _kernels.partition_ids_from_hashes(hashes, partitions, ids)
    return ids


def hash_partition_ids(columns: pl.DataFrame | ArrowStream, partitions: int, seed: int = 0) -> NDArray[np.uint32]:
    """uint32[rows] in [0, partitions): `partition_ids_from_hashes(hash_rows(columns, seed), partitions)` in one pass."""
    check_partitions(partitions)
    table = kernel_table(columns)
    ids = np.empty(table.rows, dtype=np.uint32)
    _kernels.hash_partition_ids(table, partitions, seed & 0xFFFFFFFFFFFFFFFF, ids)
    return ids


def partition_histogram(ids: NDArray[np.uint32], partitions: int) -> NDArray[np.uint64]:
    """uint64[partitions]: rows of each partition. Raises `ValueError` when an id is not below `partitions`."""
    check_partitions(partitions)
    counts = np.empty(partitions, dtype=np.uint64)
    _kernels.partition_histogram(as_ids(ids), partitions, counts)
    return counts


def check_partitions(partitions: int) -> None:
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise ConfigError(f"partitions={partitions}: give a number from 1 to {MAX_PARTITIONS}")


def as_ids(ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The ids as contiguous uint32; other integer types are converted after a range check."""
    ids = np.asarray(ids)
    if ids.dtype != np.uint32:
        if ids.dtype.kind not in "iu":
            raise TypeError(f"partition ids are integers, not {ids.dtype}")
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) > 0xFFFFFFFF):
            raise ValueError(f"partition ids from {int(ids.min())} to {int(ids.max())}: they must lie in [0, partitions)")
    return np.ascontiguousarray(ids, dtype=np.uint32)
