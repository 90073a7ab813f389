"""The twin of `mpi4py.MPI.Datatype`: a NumPy dtype and, for derived types, which elements of a pattern belong to it.

Invariant: `pack` gives the bytes of `count` items in the order that MPI's typemap has; `unpack` is its inverse. A contiguous type packs without
a copy.

    column = DOUBLE.Create_vector(rows, 1, columns).Commit()      # one column of a C-ordered matrix
    elements of the pattern:  0, columns, 2 columns, ...          extent: from the first to behind the last of them
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcflow.bsp.threads.errors import ERR_ARG, ERR_BUFFER, ERR_TRUNCATE, ERR_TYPE, MpiError

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
ORDER_C = 56
ORDER_F = 57


class Datatype:
    """A type of MPI. Named ones are constants of `thread_mpi`; the `Create_` methods derive others."""

    __slots__ = ("_elements", "dtype", "extent", "is_dense", "name", "size")

    def __init__(
        self, dtype: npt.DTypeLike, name: str = "", elements: Indices | None = None, extent: int | None = None, size: int | None = None
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.name = name
        self._elements = elements  # offsets in items of dtype; None: one item, no gap
        self.extent = self.dtype.itemsize if extent is None else extent
        self.size = size if size is not None else (1 if elements is None else len(elements)) * self.dtype.itemsize
        self.is_dense = elements is None or (self.extent == self.size and bool(np.all(elements == np.arange(len(elements)))))
        """Items follow each other without a gap, in order."""

    @property
    def is_predefined(self) -> bool:
        return bool(self.name)

    @property
    def typestr(self) -> str:
        return self.dtype.str[1:] if self.is_predefined else f"V{self.extent}"

    def Get_size(self) -> int:
        return self.size

    def Get_extent(self) -> tuple[int, int]:
        return 0, self.extent

    def Get_name(self) -> str:
        return self.name

    def Commit(self) -> Datatype:
        return self

    def Free(self) -> None:
        return

    def Dup(self) -> Datatype:
        return Datatype(self.dtype, "", self._pattern(), self.extent, self.size)

    def Create_contiguous(self, count: int) -> Datatype:
        return self._placed(np.arange(count, dtype=np.int64))

    def Create_vector(self, count: int, blocklength: int, stride: int) -> Datatype:
        return self._placed((np.arange(count)[:, None] * stride + np.arange(blocklength)).ravel())

    def Create_indexed(self, blocklengths: Sequence[int], displacements: Sequence[int]) -> Datatype:
        blocks = [np.arange(length) + start for length, start in zip(blocklengths, displacements, strict=True)]
        return self._placed(np.concatenate([np.empty(0, np.int64), *blocks]))

    def Create_indexed_block(self, blocklength: int, displacements: Sequence[int]) -> Datatype:
        return self.Create_indexed([blocklength] * len(displacements), displacements)

    def Create_subarray(self, sizes: Sequence[int], subsizes: Sequence[int], starts: Sequence[int], order: int = ORDER_C) -> Datatype:
        if not all(min(start, part - 1) >= 0 and start + part <= whole for whole, part, start in zip(sizes, subsizes, starts, strict=True)):
            raise MpiError(ERR_ARG, f"a part of {list(subsizes)} from {list(starts)} does not lie in an array of {list(sizes)}")
        grid: Indices = np.arange(int(np.prod(sizes)), dtype=np.int64).reshape(tuple(sizes), order="C" if order == ORDER_C else "F")
        part = grid[tuple(slice(start, start + length) for start, length in zip(starts, subsizes, strict=True))]
        placed = self._placed(np.sort(part.ravel()))
        return Datatype(placed.dtype, "", placed._pattern(), grid.size * self.extent, placed.size)

    def Create_resized(self, lb: int, extent: int) -> Datatype:
        if lb != 0:
            raise MpiError(ERR_ARG, f"a lower bound of {lb}: ThreadComm's types begin at 0")
        return Datatype(self.dtype, "", self._pattern(), extent, self.size)

    @classmethod
    def Create_struct(cls, blocklengths: Sequence[int], displacements: Sequence[int], datatypes: Sequence[Any]) -> Datatype:
        """A struct moves as bytes: `displacements` count bytes."""
        offsets = [np.empty(0, np.int64)]
        for length, start, inner in zip(blocklengths, displacements, map(as_datatype, datatypes), strict=True):
            item = (inner._pattern()[:, None] * inner.dtype.itemsize + np.arange(inner.dtype.itemsize)).ravel()
            offsets.extend(start + index * inner.extent + item for index in range(length))
        elements = np.concatenate(offsets)
        return cls(np.uint8, "", elements, int(elements.max(initial=-1)) + 1)

    def pack(self, memory: Bytes, start: int, count: int) -> Bytes:
        """Bytes of `count` items that begin at byte `start` of `memory`: a view where the type has no gaps, else a copy."""
        if self.is_dense:
            self._check_inside(memory, start, count * self.extent)
            return memory[start : start + count * self.extent]
        items, indices = self._indices(memory, start, count)
        return np.ascontiguousarray(items[indices]).view(np.uint8)

    def unpack(self, data: Bytes, memory: Bytes, start: int, count: int) -> None:
        """Put packed bytes, at most `count` items, into `memory` from byte `start`."""
        if len(data) > count * (self.extent if self._elements is None else self.size):
            raise MpiError(ERR_TRUNCATE, f"{len(data)} bytes do not fit {count} items of {self.size} bytes: give a larger buffer")
        if self.is_dense:
            self._check_inside(memory, start, len(data))
            memory[start : start + len(data)] = data
            return
        items, indices = self._indices(memory, start, count)
        values = np.ascontiguousarray(data).view(self.dtype)
        items[indices[: len(values)]] = values

    def _indices(self, memory: Bytes, start: int, count: int) -> tuple[npt.NDArray[Any], Indices]:
        step, rest = divmod(self.extent, self.dtype.itemsize)
        if rest:
            raise MpiError(ERR_TYPE, f"an extent of {self.extent} bytes is no multiple of the item's {self.dtype.itemsize}")
        indices = (np.arange(count, dtype=np.int64)[:, None] * step + self._pattern()).ravel()
        self._check_inside(memory, start, (int(indices.max(initial=-1)) + 1) * self.dtype.itemsize)
        whole = (len(memory) - start) // self.dtype.itemsize * self.dtype.itemsize
        return memory[start : start + whole].view(self.dtype), indices

    def _check_inside(self, memory: Bytes, start: int, size_bytes: int) -> None:
        if start < 0 or start + size_bytes > len(memory):
            raise MpiError(
                ERR_BUFFER,
                f"the call reaches {size_bytes} bytes from byte {start} in a buffer of {len(memory)} bytes: check counts and displacements",
            )

    def _pattern(self) -> Indices:
        return np.zeros(1, np.int64) if self._elements is None else self._elements

    def _placed(self, places: Indices) -> Datatype:
        """This type repeated at `places`, in units of its extent."""
        step = self.extent // self.dtype.itemsize
        elements = (places[:, None] * step + self._pattern()).ravel()
        if elements.min(initial=0) < 0:
            raise MpiError(ERR_ARG, "a negative stride or displacement: ThreadComm's types begin at 0")
        return Datatype(self.dtype, "", elements, (int(places.max(initial=-1)) + 1) * self.extent)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Datatype):
            same = self.dtype == other.dtype and self.extent == other.extent and self.size == other.size
            return same and np.array_equal(self._pattern(), other._pattern())
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.dtype, self.extent, self.size))

    def __repr__(self) -> str:
        return f"<Datatype {self.name or self.dtype}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Datatype, (self.dtype, self.name, self._elements, self.extent, self.size))


def _pair(value: str, name: str) -> Datatype:
    dtype = np.dtype([("value", value), ("index", np.intc)], align=True)
    return Datatype(dtype, name, size=np.dtype(value).itemsize + np.dtype(np.intc).itemsize)


NAMED: dict[str, Datatype] = {
    name: Datatype(dtype, "MPI_" + name)
    for names, dtype in (
        ("BYTE PACKED", np.uint8), ("CHAR SIGNED_CHAR INT8_T SINT8_T", np.int8), ("UNSIGNED_CHAR UINT8_T", np.uint8),
        ("SHORT SIGNED_SHORT", np.short), ("UNSIGNED_SHORT", np.ushort),
        ("INT SIGNED_INT INTEGER F_INT", np.intc), ("UNSIGNED UNSIGNED_INT", np.uintc),
        ("LONG SIGNED_LONG", np.long), ("UNSIGNED_LONG", np.ulong), ("LONG_LONG SIGNED_LONG_LONG", np.longlong), ("UNSIGNED_LONG_LONG", np.ulonglong),
        ("INT16_T SINT16_T", np.int16), ("INT32_T SINT32_T", np.int32), ("INT64_T SINT64_T AINT OFFSET COUNT", np.int64),
        ("UINT16_T", np.uint16), ("UINT32_T", np.uint32), ("UINT64_T", np.uint64), ("FLOAT16_T", np.float16),
        ("FLOAT FLOAT32_T REAL REAL4 F_FLOAT", np.float32), ("DOUBLE FLOAT64_T DOUBLE_PRECISION REAL8 F_DOUBLE", np.float64),
        ("LONG_DOUBLE", np.longdouble),
        ("C_BOOL BOOL CXX_BOOL", np.bool_), ("C_COMPLEX C_FLOAT_COMPLEX COMPLEX COMPLEX8 F_COMPLEX F_FLOAT_COMPLEX CXX_FLOAT_COMPLEX", np.complex64),
        ("C_DOUBLE_COMPLEX DOUBLE_COMPLEX COMPLEX16 F_DOUBLE_COMPLEX CXX_DOUBLE_COMPLEX", np.complex128),
        ("C_LONG_DOUBLE_COMPLEX CXX_LONG_DOUBLE_COMPLEX", np.clongdouble),
    )
    for name in names.split()
}  # fmt: skip
"""Name in `mpi4py.MPI` -> type, without the pairs."""
NAMED |= {
    f"{name}": _pair(value, "MPI_" + name)
    for name, value in {
        "SHORT_INT": "h",
        "INT_INT": "i",
        "TWOINT": "i",
        "LONG_INT": "l",
        "FLOAT_INT": "f",
        "DOUBLE_INT": "d",
        "LONG_DOUBLE_INT": "g",
    }.items()
}


def as_datatype(datatype: Any) -> Datatype:
    """Ours, mpi4py's named ones, and the strings that mpi4py takes (`"d"`, `"i4"`)."""
    if isinstance(datatype, Datatype):
        return datatype
    if isinstance(datatype, str):
        return of_dtype(np.dtype(datatype))
    from hpcflow.bsp.threads.foreign import is_foreign, mpi4py_module

    if is_foreign(datatype):
        module = mpi4py_module()
        for name, ours in NAMED.items():
            if getattr(module, name, None) == datatype:
                return ours
        raise MpiError(ERR_TYPE, "a derived type of mpi4py: make it from ctx.MPI's types instead, which fit the communicator")
    raise TypeError(f"expecting an MPI datatype or its code, not {type(datatype).__name__}")


def of_dtype(dtype: np.dtype[Any]) -> Datatype:
    """The type that mpi4py finds for a NumPy array without being told."""
    if not dtype.isnative:
        raise BufferError(f"dtype {dtype.str!r} with non-native byte order: copy it with astype({dtype.newbyteorder('=').str!r})")
    if dtype.kind in "mM":
        raise BufferError(f"no MPI datatype for {dtype}: name one, as in [array, MPI.INT64_T]")
    if dtype.kind not in "biufc":
        raise KeyError(f"cannot map dtype {dtype} to an MPI datatype: name one, for example [array, MPI.BYTE]")
    return Datatype(dtype, _NAMES.get(dtype, ""))


_NAMES = {datatype.dtype: datatype.name for datatype in reversed(NAMED.values()) if datatype.dtype.names is None}


def count_of(value: Any) -> int:
    count = operator.index(value)
    if count < 0:
        raise ValueError(f"message: negative count {count}")
    return count
