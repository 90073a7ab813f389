"""The twin of `mpi4py.MPI.Op`: reductions of buffers and of Python objects.

Invariant: a reduction is folded in rank order, ((x0 op x1) op x2) ..., so that equal inputs give equal bits on every run and on all ranks. The
arrays of the ranks are read, never written.

    >>> SUM(2, 3), MAXLOC((2.0, 1), (2.0, 0))
    (5, (2.0, 0))

    product = Op.Create(multiply)                # multiply(in, inout, datatype): inout = in op inout, as in mpi4py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcflow.bsp.threads.buffers import span
from hpcflow.bsp.threads.datatypes import Datatype
from hpcflow.bsp.threads.errors import ERR_OP, ERR_TYPE, MpiError
from hpcflow.bsp.threads.foreign import is_foreign, mpi4py_module

Array = npt.NDArray[Any]
Fold = Callable[[Array, Array, Datatype], Array]
"""accumulated, next -> accumulated; may overwrite the first."""


class Op:
    """A reduction operation: called on two objects, or folded over arrays."""

    __slots__ = ("_call", "_commutes", "_fold", "name")

    def __init__(self, name: str, call: Callable[[Any, Any], Any], fold: Fold, commutes: bool = True) -> None:
        self.name = name
        self._call = call
        self._fold = fold
        self._commutes = commutes

    @classmethod
    def Create(cls, function: Callable[[Any, Any, Any], Any], commute: bool = False) -> Op:
        """An operation of the user: `function(in, inout, datatype)` leaves `in op inout` in the memory of `inout`; both are memoryviews of bytes.

        In lower-case calls it is called as `function(x, y, None)` and returns the result.
        """
        if not callable(function):
            raise TypeError(f"an operation is made from a function, not from {type(function).__name__}")

        def fold(accumulated: Array, operand: Array, datatype: Datatype) -> Array:
            result = operand.copy()
            function(accumulated.view(np.uint8).data, result.view(np.uint8).data, datatype)
            return result

        return cls("user", lambda x, y: function(x, y, None), fold, commute)

    def __call__(self, x: Any, y: Any) -> Any:
        return self._call(x, y)

    def Is_commutative(self) -> bool:
        return self._commutes

    @property
    def is_commutative(self) -> bool:
        return self._commutes

    @property
    def is_predefined(self) -> bool:
        return self.name != "user"

    def Free(self) -> None:
        return

    def Reduce_local(self, inbuf: Any, inoutbuf: Any) -> None:
        """`inout = in op inout`, on this rank alone."""
        source, target = span(inbuf, False), span(inoutbuf, True)
        if self.is_predefined and not target.datatype.is_predefined:
            raise MpiError(ERR_TYPE, f"{self.name} of a derived type: it takes the types of MPI; a derived one needs an operation made by Op.Create")
        target.fill_all(self.reduce([source.values(), target.values()], target.datatype).view(np.uint8))

    def reduce(self, arrays: Iterable[Array], datatype: Datatype) -> Array:
        """The arrays folded in order, as a new array."""
        *_, result = self.scan(arrays, datatype)
        return result

    def scan(self, arrays: Iterable[Array], datatype: Datatype) -> Iterator[Array]:
        """The fold after each of the arrays. What has been yielded may be overwritten by the next step: copy what is kept."""
        accumulated: Array | None = None
        for array in arrays:
            if accumulated is None:
                accumulated = array.copy()
            else:
                accumulated = self._fold(accumulated, array, datatype)
            yield accumulated

    def __repr__(self) -> str:
        return f"<Op {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if not self.is_predefined:
            raise TypeError("an operation made by Op.Create cannot be pickled: create it on every rank")
        return (_named, (self.name,))


def as_op(op: Any) -> Op:
    """Ours, or mpi4py's: a named one by its name, one of `mpi4py.MPI.Op.Create` through `Reduce_local`."""
    if isinstance(op, Op):
        return op
    if not is_foreign(op):
        raise TypeError(
            f"an upper-case reduction takes an MPI.Op, not {type(op).__name__}: MPI.Op.Create(function, commute=True), or the lower-case call"
        )
    module = mpi4py_module()
    for name, ours in NAMED.items():
        if getattr(module, name) == op:
            return ours

    def fold(accumulated: Array, operand: Array, datatype: Datatype) -> Array:
        result = operand.copy()
        op.Reduce_local(accumulated, result)
        return result

    return Op("user", op, fold, op.Is_commutative())


def as_function(op: Any) -> Callable[[Any, Any], Any]:
    """For lower-case calls: an operation or any callable of two objects."""
    if not callable(op):
        raise TypeError(f"a reduction takes an MPI.Op or a function of two objects, not {type(op).__name__}")
    function: Callable[[Any, Any], Any] = op
    return function


def _named(name: str) -> Op:
    return NAMED[name]


def _ufunc(function: np.ufunc) -> Fold:
    def fold(accumulated: Array, operand: Array, datatype: Datatype) -> Array:
        try:
            with np.errstate(all="ignore"):  # MPI reduces without a word about overflows
                function(accumulated, operand, out=accumulated, casting="unsafe" if function in _LOGICAL else "same_kind")
        except TypeError as error:
            raise MpiError(ERR_OP, f"{function.__name__} is not defined for {datatype.name or datatype.dtype}") from error
        return accumulated

    return fold


_LOGICAL: Final = (np.logical_and, np.logical_or, np.logical_xor)


def _location(better: Callable[[Array, Array], Array]) -> Fold:
    def fold(accumulated: Array, operand: Array, datatype: Datatype) -> Array:
        if datatype.dtype.names != ("value", "index"):
            raise MpiError(ERR_OP, f"MAXLOC and MINLOC take pairs such as [x, MPI.DOUBLE_INT], not {datatype.name or datatype.dtype}")
        value, other = accumulated["value"], operand["value"]
        take = better(other, value) | ((other == value) & (operand["index"] < accumulated["index"]))
        accumulated[take] = operand[take]
        return accumulated

    return fold


def _best(better: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def call(x: Any, y: Any) -> Any:
        (u, i), (v, j) = x, y
        return (v, j) if better(v, u) or (not better(u, v) and j < i) else (u, i)

    return call


MAX: Final = Op("MAX", lambda x, y: y if y > x else x, _ufunc(np.maximum))
MIN: Final = Op("MIN", lambda x, y: y if y < x else x, _ufunc(np.minimum))
SUM: Final = Op("SUM", lambda x, y: x + y, _ufunc(np.add))
PROD: Final = Op("PROD", lambda x, y: x * y, _ufunc(np.multiply))
LAND: Final = Op("LAND", lambda x, y: bool(x) & bool(y), _ufunc(np.logical_and))
BAND: Final = Op("BAND", lambda x, y: x & y, _ufunc(np.bitwise_and))
LOR: Final = Op("LOR", lambda x, y: bool(x) | bool(y), _ufunc(np.logical_or))
BOR: Final = Op("BOR", lambda x, y: x | y, _ufunc(np.bitwise_or))
LXOR: Final = Op("LXOR", lambda x, y: bool(x) ^ bool(y), _ufunc(np.logical_xor))
BXOR: Final = Op("BXOR", lambda x, y: x ^ y, _ufunc(np.bitwise_xor))
MAXLOC: Final = Op("MAXLOC", _best(lambda a, b: a > b), _location(np.greater))
MINLOC: Final = Op("MINLOC", _best(lambda a, b: a < b), _location(np.less))
NAMED: Final = {op.name: op for op in (MAX, MIN, SUM, PROD, LAND, BAND, LOR, BOR, LXOR, BXOR, MAXLOC, MINLOC)}
