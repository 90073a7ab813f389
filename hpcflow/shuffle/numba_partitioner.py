"""A user's Numba function as a partitioner: `f(a, b) -> partition` of one row's columns, compiled once a rank and called from the native loop.

Invariant: only the Python function travels between ranks; what is compiled (a C function over blocks of rows, which runs without the GIL) stays
on the rank that compiled it.

    NumbaPartitioner(lambda a, b: (a + b) % 8, ("a", "b"), 8)
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from hpcflow.errors import ConfigError, HpcflowError, SchemaError
from hpcflow.native import user_partition_ids
from hpcflow.shuffle.user_ids import Ids


class NumbaPartitioner:
    """`function(*values of columns)` gives the partition of a row.

    Columns are numbers, booleans or temporal (as integers of their unit), without nulls.
    """

    def __init__(self, function: Callable[..., Any], columns: Sequence[str], partitions: int) -> None:
        self.function = getattr(function, "py_func", function)  # of an already jitted function, the Python one: it pickles
        self.columns = list(columns)
        self.partitions = partitions
        self._compiled: dict[tuple[str, ...], Any] = {}

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> Ids:
        """uint32[n]. ConfigError without Numba; SchemaError for columns it cannot take, code it cannot compile, or a partition out of range."""
        table = pl.DataFrame([_as_numbers(df.get_column(name)) for name in self.columns])
        if df.height == 0:
            return np.zeros(0, dtype=np.uint32)
        types = tuple(str(column.dtype).lower() for column in table)
        if types not in self._compiled:
            self._compiled[types] = self._compile(types)
        try:
            return user_partition_ids(self._compiled[types].address, table, self.partitions)
        except HpcflowError as error:
            raise SchemaError(f"partitioner {self._name()} {self._first_wrong(table)}; partitions are 0 to {self.partitions - 1}") from error

    def _compile(self, types: tuple[str, ...]) -> Any:
        """Numba's C function for columns of these NumPy dtypes."""
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
            returned = one_row.overloads[values].signature.return_type
        except Exception as error:
            raise SchemaError(f"Numba cannot compile partitioner {self._name()} for ({', '.join(types)}): {error}") from error
        if not isinstance(returned, numba.types.Integer):
            raise SchemaError(f"partitioner {self._name()} returns {returned}; return an integer in [0, {self.partitions})")
        kinds = numba.types
        signature = kinds.void(kinds.int64, kinds.CPointer(kinds.voidptr), kinds.int64, kinds.CPointer(kinds.uint32))
        return numba.cfunc(signature)(_block_loop(types, one_row, numba.carray))

    def _first_wrong(self, table: pl.DataFrame) -> str:
        """What the function, called once more from Python, says of the first row that it sends nowhere."""
        for number, values in enumerate(zip(*(column.to_numpy() for column in table), strict=True)):
            partition = int(self.function(*values))
            if not 0 <= partition < self.partitions:
                shown = ", ".join(f"{name}={value}" for name, value in zip(self.columns, values, strict=True))
                return f"returned partition {partition} for row {number} ({shown})"
        return "returned a partition that there is not, and another one when it was asked again: it has to give the same for the same values"

    def _name(self) -> str:
        return getattr(self.function, "__name__", "the function")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}


def _block_loop(types: tuple[str, ...], one_row: Any, carray: Any) -> Callable[..., None]:
    """The loop over a block of rows, written out for this number of columns since Numba unrolls no argument lists. A wrong id becomes the largest.

    For two columns:  ids[i] = one_row(c0[i], c1[i])
    """
    columns = [f"    c{number} = carray(columns[{number}], (rows,), {kind})" for number, kind in enumerate(types)]
    call = ", ".join(f"c{number}[i]" for number in range(len(types)))
    lines = [
        "def block(rows, columns, partitions, out):",
        *columns,
        "    ids = carray(out, (rows,))",
        "    for i in range(rows):",
        f"        partition = one_row({call})",
        "        ids[i] = partition if 0 <= partition < partitions else 0xFFFFFFFF",
    ]
    names: dict[str, Any] = {"carray": carray, "one_row": one_row, **{kind: np.dtype(kind) for kind in types}}
    exec("\n".join(lines), names)
    loop: Callable[..., None] = names["block"]
    return loop


def _as_numbers(column: pl.Series) -> pl.Series:
    """The column as plain numbers of its own width: temporal ones as integers of their unit, booleans as 0 and 1."""
    dtype = column.dtype
    is_plain = (dtype.is_numeric() and not dtype.is_decimal()) or dtype.is_temporal() or dtype == pl.Boolean
    if not is_plain or dtype in (pl.Int128, pl.UInt128, pl.Float16):
        use = "use a Python function on the table"
        raise SchemaError(f"a Numba partitioner takes numbers, booleans and temporal columns; {column.name!r} is {dtype}: {use}")
    if column.null_count():
        raise SchemaError(f"a Numba partitioner takes columns without nulls; {column.name!r} has {column.null_count()}: fill_null it first")
    return column.cast(pl.UInt8) if dtype == pl.Boolean else column.to_physical()
