"""Reduction operators of the user: Python or Numba functions in MPI_Reduce, Allreduce, Scan, also over structured arrays.

Invariant: `function(a, b)` combines the values of lower ranks (a) with those of higher ones (b), element by element; it has to be associative.
MPI sees whole items, never parts of them.

    best = Reduction(ctx.MPI, lambda a, b: np.where(a["cost"] <= b["cost"], a, b), [("cost", "f8"), ("rank", "i4")])
    winner = best.allreduce(ctx.comm, mine)                     # mine: array of that dtype
    ctx.comm.Scan(best.buffer(mine), best.buffer(out), op=best.op)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcflow.errors import ConfigError, SchemaError

Array = npt.NDArray[Any]


class Reduction:
    """An operator and the datatype of its items, made on every rank alike.

    Args:
        module: `mpi4py.MPI`, or the twin that fits the communicator.
        function: `f(a, b)` of two arrays of `dtype`, that returns the combined array, or None when it has left it in `b`; an already jitted Numba
            function is fine. With `each=True`, a function of two scalars that Numba compiles; over a structured dtype `f(a, b, out)` of three
            records, that sets the fields of `out`.
        dtype: of the arrays, structured ones included.
        commutative: f(a, b) = f(b, a): lets MPI choose the order.

    Raises:
        ConfigError: `each=True` without Numba, or a dtype of Python objects.
    """

    def __init__(self, module: Any, function: Callable[..., Any], dtype: Any, *, commutative: bool = False, each: bool = False) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype.hasobject:
            raise ConfigError(f"a reduction of dtype {self.dtype}: Python objects have no fixed size; use ctx.comm.allreduce(object, op=function)")
        self._combine = _compiled(function, self.dtype) if each else function
        self.op = module.Op.Create(self._call, commute=commutative)
        """The MPI operator, for buffers of `datatype`."""
        self.datatype = module.BYTE.Create_contiguous(self.dtype.itemsize).Commit()
        """The MPI datatype of one item."""

    def buffer(self, array: Array) -> list[Any]:
        """A C-contiguous array as mpi4py's calls take it: [memory, count, datatype]. SchemaError for another dtype."""
        if array.dtype != self.dtype or not array.flags.c_contiguous:
            raise SchemaError(f"a reduction of {self.dtype} takes C-contiguous arrays of it, not {array.dtype}: np.ascontiguousarray(x, dtype)")
        return [array.reshape(-1).view(np.uint8), array.size, self.datatype]

    def allreduce(self, comm: Any, array: Array) -> Array:
        """The ranks' arrays combined, in rank order, on every rank. Collective."""
        out = np.empty_like(array)
        comm.Allreduce(self.buffer(array), self.buffer(out), op=self.op)
        return out

    def reduce(self, comm: Any, array: Array, root: int = 0) -> Array | None:
        """As `allreduce`, on the root; None elsewhere. Collective."""
        out = np.empty_like(array) if comm.Get_rank() == root else None
        comm.Reduce(self.buffer(array), None if out is None else self.buffer(out), op=self.op, root=root)
        return out

    def scan(self, comm: Any, array: Array) -> Array:
        """The arrays of ranks 0 to this one combined. Collective."""
        out = np.empty_like(array)
        comm.Scan(self.buffer(array), self.buffer(out), op=self.op)
        return out

    def free(self) -> None:
        """Give operator and datatype back: MPI has few places for operators of users (mpi4py: 16)."""
        self.op.Free()
        self.datatype.Free()

    def _call(self, incoming: Any, inout: Any, datatype: Any) -> None:
        a, b = np.frombuffer(incoming, self.dtype), np.frombuffer(inout, self.dtype)
        result = self._combine(a, b)
        if result is not None:
            b[...] = result


def _compiled(function: Callable[..., Any], dtype: np.dtype[Any]) -> Callable[[Array, Array], Any]:
    """A function of one item as a function of arrays."""
    try:
        numba: Any = importlib.import_module("numba")  # an extra: only programs that use it need it
    except ImportError as error:
        raise ConfigError("a reduction with each=True needs Numba on every rank: pip install 'hpcflow-mpi[numba]'") from error
    if dtype.names is None:
        vectorized: Any = numba.vectorize(function)
        return lambda a, b: vectorized(a, b).astype(dtype, copy=False)
    one = numba.njit(function)

    @numba.njit  # type: ignore[untyped-decorator]  # Numba has no types
    def loop(a: Any, b: Any, out: Any) -> None:
        for index in range(len(out)):
            one(a[index], b[index], out[index])

    def combine(a: Array, b: Array) -> Array:
        out = np.empty_like(b)
        loop(a, b, out)
        return out

    return combine
