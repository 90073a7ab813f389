"""Range partitions: where rows fall among sorted splitters, in the order Polars sorts.

Invariant: partitions are contiguous in sort order. `ids[i]` is the number of splitters that sort strictly before row i, so every row equal to or
before splitter j is in a partition <= j, and every row after it in one > j. Rows and splitters of equal keys are ordered by global row position,
so one hot key may span several partitions.

    >>> import polars as pl
    >>> range_partition_ids(pl.DataFrame({"k": [1, 5, 9]}), pl.DataFrame({"k": [5]}), [False], [False]).tolist()
    [0, 0, 1]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hpcflow.errors import SchemaError
from hpcflow.native import _kernels
from hpcflow.native.tables import ArrowStream, as_frame, kernel_table, without_categoricals


def range_partition_ids(
    columns: pl.DataFrame | ArrowStream,
    splitters: pl.DataFrame | ArrowStream,
    descending: Sequence[bool],
    nulls_last: Sequence[bool],
    position_start: int | None = None,
    splitter_positions: Sequence[int] | NDArray[np.integer] | None = None,
) -> NDArray[np.uint32]:
    """uint32[rows] in [0, splitters + 1).

    `columns`: the key columns; `splitters`: the same schema, P - 1 rows in sort order; `descending`, `nulls_last`: one per key. `position_start`
    is the global position of the first row and `splitter_positions` int64[P - 1] that of each splitter, ascending among equal splitters; without
    either, equal keys all go to the lowest partition they may. Order: numbers by value with NaN largest and -0.0 = 0.0, false before true, strings
    and categoricals by bytes, Enums by category order, nested keys by Polars' row encoding. Raises `SchemaError` for other types in the splitters,
    `ValueError` for splitters out of order.
    """
    keys, cuts = as_frame(columns), as_frame(splitters)
    if keys.schema != cuts.schema:
        raise SchemaError(f"the splitters' schema {dict(cuts.schema)} is not the keys' {dict(keys.schema)}")
    if not len(descending) == len(nulls_last) == keys.width:
        raise ValueError(f"{keys.width} sort keys need as many flags: descending has {len(descending)}, nulls_last {len(nulls_last)}")
    positions = None
    if position_start is not None and splitter_positions is not None:
        positions = np.ascontiguousarray(splitter_positions, dtype=np.int64)
        if len(positions) != cuts.height:
            raise ValueError(f"{len(positions)} positions for {cuts.height} splitters")
    if any(dtype.is_nested() for dtype in keys.dtypes):
        keys, cuts = _row_encoded(keys, descending, nulls_last), _row_encoded(cuts, descending, nulls_last)
        descending = nulls_last = (False,)
    ids = np.empty(keys.height, dtype=np.uint32)
    flags = [np.array(values, dtype=np.uint8) for values in (descending, nulls_last)]
    _kernels.range_partition_ids(kernel_table(keys), kernel_table(cuts), flags[0], flags[1], position_start or 0, positions, ids)
    return ids


def _row_encoded(keys: pl.DataFrame, descending: Sequence[bool], nulls_last: Sequence[bool]) -> pl.DataFrame:
    """One binary column whose byte order is the sort order: nested keys sort as Polars' own row encoding has it. Categoricals go as strings."""
    encoded = without_categoricals(keys)._row_encode(descending=list(descending), nulls_last=list(nulls_last))
    return pl.DataFrame({"key": encoded.cast(pl.Binary)})
