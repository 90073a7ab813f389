"""A user's compiled partitioner, called from the native loop without the interpreter.

Invariant: every id it gives is checked; a function that leaves a row out, or answers `>= partitions`, is an error that names the row.

The function is C's `void f(int64_t rows, const void* const* columns, int64_t partitions, uint32_t* out)`: `columns[k]` points at `rows` values of
column k, and it writes `rows` ids. It is called for blocks of rows, on the calling thread, without the GIL. With Numba:

    from numba import carray, cfunc, types

    @cfunc(types.void(types.int64, types.CPointer(types.voidptr), types.int64, types.CPointer(types.uint32)))
    def by_low_bits(rows, columns, partitions, out):
        keys = carray(columns[0], (rows,), dtype=np.int64)
        ids = carray(out, (rows,))
        for i in range(rows):
            ids[i] = keys[i] & (partitions - 1)

    user_partition_ids(by_low_bits.address, df.select("k"), 8)
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hpcflow.native import _kernels
from hpcflow.native.hashing import check_partitions
from hpcflow.native.tables import ArrowStream, kernel_table


def user_partition_ids(fn_address: int, columns: pl.DataFrame | ArrowStream, partitions: int) -> NDArray[np.uint32]:
    """uint32[rows] in [0, partitions), from the function at `fn_address` over the columns' values.

    Columns are fixed-width numbers and temporals without nulls (else `SchemaError`). Raises `HpcflowError` naming the row whose id is out of
    range. The function must stay alive during the call; what it reads beyond `rows` values is its own fault and cannot be caught.
    """
    check_partitions(partitions)
    if fn_address == 0:
        raise ValueError("the address of a compiled function is not 0: pass `function.address` of a Numba cfunc")
    table = kernel_table(columns)
    ids = np.empty(table.rows, dtype=np.uint32)
    _kernels.user_partition_ids(fn_address, table, partitions, ids)
    return ids
