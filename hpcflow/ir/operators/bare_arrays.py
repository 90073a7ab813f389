"""Tables as bare NumPy arrays, for functions that compute on arrays alone: the schema that was declared names the columns.

    one column     array[rows]                       (a column of pl.Array(dtype, width): array[rows, width])
    n columns      array[rows, n], the columns in the schema's order

Invariant: `from_array(to_array(df), df.schema)` is `df` where all columns are of one numeric type without nulls.

    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})
    >>> to_array(df).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    >>> from_array(to_array(df) * 2, df.schema, "bsp")["y"].to_list()
    [6.0, 8.0]
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import polars as pl

from hpcflow.errors import SchemaError


def to_array(df: pl.DataFrame) -> npt.NDArray[Any]:
    """One column as it lies in memory, read-only, where it is numbers without nulls; several copied into array[rows, columns] (C order) of the type
    that holds them all. Nulls become NaN."""
    return df.to_series().to_numpy() if df.width == 1 else df.to_numpy(order="c")


def from_array(array: npt.NDArray[Any], schema: pl.Schema, operator: str) -> pl.DataFrame:
    """A DataFrame with the names of `schema`.

    Raises:
        SchemaError: no schema, or an array of another shape than it says.
    """
    if array.dtype.names is not None:
        return pl.from_numpy(array)
    if not schema:
        names = ", ".join(f"'column {index}': ..." for index in range(array.shape[1] if array.ndim > 1 else 1))
        raise SchemaError(
            f"the function of {operator} returned an array {array.dtype}{array.shape}, whose columns have no names: pass {operator}(..., "
            f"schema={{{names}}}), in the order of the array's columns"
        )
    if len(schema) == 1:
        name, dtype = next(iter(schema.items()))
        if array.ndim == 2 and array.shape[1] == 1 and not isinstance(dtype, pl.Array):
            array = array[:, 0]
        if array.ndim == (1 + len(dtype.shape) if isinstance(dtype, pl.Array) else 1):
            objects = array.dtype == object  # texts: an empty array of them does not say what it holds
            return pl.DataFrame([pl.Series(name, list(array), dtype) if objects else pl.Series(name, array)])
    elif array.ndim == 2 and array.shape[1] == len(schema):
        return pl.DataFrame([pl.Series(name, array[:, index]) for index, name in enumerate(schema)])
    rows = "[rows]" if len(schema) == 1 else f"[rows, {len(schema)}]"
    raise SchemaError(
        f"the function of {operator} returned an array of shape {array.shape}, and the declared columns are {schema.names()}: return an array{rows}, "
        "a dict of columns or a table"
    )
