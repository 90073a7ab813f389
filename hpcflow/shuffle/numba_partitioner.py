"""A user's Numba function as a partitioner: `f(a, b) -> partition` of one row's columns, compiled once a rank and called without the interpreter.

Invariant: only the Python function travels between ranks; what is compiled stays on the rank that compiled it.

    NumbaPartitioner(lambda a, b: (a + b) % 8, ("a", "b"), 8)
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from hpcflow.errors import ConfigError, SchemaError
from hpcflow.shuffle.user_ids import Ids, checked_ids


class NumbaPartitioner:
    """`function(*values of columns)` gives the partition of a row.

    Columns are numbers, booleans or temporal (as integers of their unit), without nulls.
    """

    def __init__(self, function: Callable[..., Any], columns: Sequence[str], partitions: int) -> None:
        self.function = getattr(function, "py_func", function)  # of an already jitted function, the Python one: it pickles
        self.columns = list(columns)
        self.partitions = partitions
        self._compiled: dict[tuple[str, ...], Callable[..., Any]] = {}

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        """uint32[n]. ConfigError without Numba; SchemaError for columns it cannot take, code it cannot compile, or a partition out of range."""
        arrays = [_as_array(df.get_column(name)) for name in self.columns]
        if df.height == 0:
            return np.zeros(0, dtype=np.uint32)
        types = tuple(str(array.dtype) for array in arrays)
        if types not in self._compiled:
            self._compiled[types] = self._compile(types)
        return checked_ids(self._compiled[types](*arrays), df.height, self.partitions, self._name())

    def _compile(self, types: tuple[str, ...]) -> Callable[..., Any]:
        try:
            numba: Any = importlib.import_module("numba")  # an extra: only jobs that use it need it
        except ImportError as error:
            raise ConfigError("a Numba partitioner needs Numba on every rank: pip install 'hpcflow-mpi[numba]'") from error
        count = len(inspect.signature(self.function).parameters)
        if count != len(types):
            raise SchemaError(f"partitioner {self._name()} takes {count} values, but {len(types)} columns were named: {', '.join(self.columns)}")
        values = tuple(numba.from_dtype(np.dtype(kind)) for kind in types)
        try:
            one_row = numba.njit(nogil=True)(self.function)
            one_row.compile(values)
            returned = numba.types.unliteral(one_row.overloads[values].signature.return_type)
        except Exception as error:
            raise SchemaError(f"Numba cannot compile partitioner {self._name()} for ({', '.join(types)}): {error}") from error
        if not isinstance(returned, numba.types.Integer):
            raise SchemaError(f"partitioner {self._name()} returns {returned}; return an integer in [0, {self.partitions})")
        loop: Callable[..., Any] = numba.vectorize([returned(*values)], nopython=True)(self.function)
        return loop

    def _name(self) -> str:
        return getattr(self.function, "__name__", "the function")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}


def _as_array(column: pl.Series) -> np.ndarray[Any, Any]:
    """The values without copying where Polars allows; temporal columns as integers of their unit."""
    dtype = column.dtype
    is_plain = (dtype.is_numeric() and not dtype.is_decimal()) or dtype.is_temporal() or dtype == pl.Boolean
    if not is_plain or dtype in (pl.Int128, pl.UInt128, pl.Float16):
        use = "use a Python function on the table"
        raise SchemaError(f"a Numba partitioner takes numbers, booleans and temporal columns; {column.name!r} is {dtype}: {use}")
    if column.null_count():
        raise SchemaError(f"a Numba partitioner takes columns without nulls; {column.name!r} has {column.null_count()}: fill_null it first")
    return column.to_physical().to_numpy() if dtype.is_temporal() else column.to_numpy()
