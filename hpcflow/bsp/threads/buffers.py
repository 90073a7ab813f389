"""What may stand for a buffer in an upper-case call, read as mpi4py reads it.

Invariant: a spec is checked on the rank that gives it, before the round; the memory is the caller's own (no copy), as one flat array of bytes.

    x, [x, MPI.DOUBLE], [x, 5], [x, 5, MPI.DOUBLE], [x, (5, 2), MPI.DOUBLE]           Span: count items from a displacement
    x, [x, counts], [x, (counts, displs)], [x, counts, displs, MPI.DOUBLE]             Blocks: one span a rank
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcflow.bsp.threads.datatypes import Bytes, Datatype, as_datatype, count_of, of_dtype
from hpcflow.bsp.threads.errors import ERR_TRUNCATE, ERR_TYPE, MpiError


@dataclass(frozen=True, slots=True)
class Span:
    """`count` items of a type, from byte `start` of `memory`."""

    memory: Bytes
    datatype: Datatype
    start: int
    count: int

    @property
    def size_bytes(self) -> int:
        return self.count * (self.datatype.size if self.datatype.dtype.names is None else self.datatype.extent)

    def pack(self) -> Bytes:
        """The bytes to send; a view of the caller's memory where the type has no gaps."""
        return self.datatype.pack(self.memory, self.start, self.count)

    def fill(self, data: Bytes) -> None:
        """Receive at most `count` items."""
        self.datatype.unpack(data, self.memory, self.start, self.count)

    def fill_all(self, data: Bytes) -> None:
        """Receive exactly `count` items, as collectives must."""
        if len(data) != self.size_bytes:
            raise MpiError(ERR_TRUNCATE, f"{len(data)} bytes are sent to a buffer for {self.size_bytes}: the counts of the ranks do not fit together")
        self.fill(data)

    def values(self) -> npt.NDArray[Any]:
        """The items as an array, for reductions; those of a derived type as bytes, for an operation of the user."""
        if self.datatype.is_predefined:
            return self.pack().view(self.datatype.dtype)
        if not self.datatype.is_dense:
            raise MpiError(ERR_TYPE, "a reduction needs a type without gaps: give the array itself, or a contiguous copy of its part")
        return self.pack().view(f"V{self.datatype.extent}")


@dataclass(frozen=True, slots=True)
class Blocks:
    """One span for each rank (or neighbour)."""

    memory: Bytes
    datatype: Datatype
    counts: Sequence[int]
    displacements: Sequence[int]

    def block(self, index: int) -> Span:
        return Span(self.memory, self.datatype, self.displacements[index] * self.datatype.extent, self.counts[index])


def span(spec: Any, writable: bool) -> Span:
    """One message. Raises what mpi4py raises."""
    parts = _parse(spec)
    memory, datatype = _memory(parts, writable)
    start = 0
    if parts.displacements is not None:
        start = _displacement(parts.displacements) * datatype.extent
        if start > len(memory):
            raise ValueError(f"message: displacement {parts.displacements} out of bounds, number of entries {len(memory) // datatype.extent}")
    count = count_of(parts.counts) if parts.counts is not None else _whole(len(memory) - start, datatype)
    return Span(memory, datatype, start, count)


def equal_blocks(spec: Any, blocks: int, writable: bool) -> Blocks:
    """The same count for each of `blocks` ranks: a given count is that of one block."""
    parts = _parse(spec)
    memory, datatype = _memory(parts, writable)
    first = 0 if parts.displacements is None else _displacement(parts.displacements)
    if parts.counts is not None:
        count = count_of(parts.counts)
    else:
        total = _whole(len(memory) - first * datatype.extent, datatype)
        count, rest = divmod(total, max(blocks, 1))
        if rest:
            raise ValueError(f"message: cannot infer count, number of entries {total} is not a multiple of required number of blocks {blocks}")
    return Blocks(memory, datatype, [count] * blocks, [first + index * count for index in range(blocks)])


def varied_blocks(spec: Any, blocks: int, writable: bool) -> Blocks:
    """A count (and displacement, in items) for each of `blocks` ranks; without counts the items are dealt out as evenly as possible."""
    parts = _parse(spec, vector=True)
    memory, datatype = _memory(parts, writable)
    if parts.counts is None:
        total = _whole(len(memory), datatype)
        counts = [total // blocks + (index < total % blocks) for index in range(blocks)]
    else:
        counts = _numbers(parts.counts, blocks, lambda value, index: value)
    if parts.displacements is None:
        starts = [0]
        for count in counts:
            starts.append(starts[-1] + count)
        return Blocks(memory, datatype, counts, starts[:blocks])
    return Blocks(memory, datatype, counts, _numbers(parts.displacements, blocks, lambda value, index: value * index))


def flat_bytes(buffer: Any, writable: bool) -> tuple[Bytes, np.dtype[Any]]:
    """The memory of a contiguous buffer as bytes, and what it holds."""
    if isinstance(buffer, np.ndarray):
        array = buffer
    elif hasattr(buffer, "__dlpack__"):
        array = np.from_dlpack(buffer)
    else:
        array = np.asarray(memoryview(buffer))
    if not array.flags.c_contiguous:
        if not array.flags.f_contiguous:
            raise BufferError("the buffer is not contiguous: send numpy.ascontiguousarray(x), or a derived type such as Create_vector")
        array = array.T
    if writable and not array.flags.writeable:
        raise BufferError("the buffer is read-only and data are to be received into it")
    return array.reshape(-1).view(np.uint8), array.dtype


@dataclass(frozen=True, slots=True)
class _Parts:
    buffer: Any
    counts: Any = None
    displacements: Any = None
    datatype: Any = None


def _parse(spec: Any, vector: bool = False) -> _Parts:
    if not isinstance(spec, list | tuple):
        return _Parts(spec)
    if not 2 <= len(spec) <= 4:
        raise ValueError("message: expecting 2 to 4 items")
    if len(spec) == 4:
        return _Parts(*spec)
    buffer, counts, datatype = spec if len(spec) == 3 else (*spec, None)
    if len(spec) == 2 and _is_type(counts):
        counts, datatype = None, counts
    pair = isinstance(counts, tuple) if vector else isinstance(counts, list | tuple)
    if not pair:
        return _Parts(buffer, counts, None, datatype)
    if len(counts) != 2:
        raise ValueError("message: expecting (count, displacement) or (counts, displacements)")
    return _Parts(buffer, counts[0], counts[1], datatype)


def _is_type(value: Any) -> bool:
    return isinstance(value, str | Datatype) or type(value).__module__.startswith("mpi4py")


def _memory(parts: _Parts, writable: bool) -> tuple[Bytes, Datatype]:
    if parts.buffer is None:  # nothing to send or receive: [None, 0, MPI.DOUBLE]
        if parts.datatype is None or parts.counts is None or np.any(np.asarray(parts.counts) != 0):
            raise TypeError("message: expecting buffer or list/tuple")
        return np.empty(0, np.uint8), as_datatype(parts.datatype)
    try:
        memory, dtype = flat_bytes(parts.buffer, writable)
    except TypeError:
        raise TypeError(f"message: expecting buffer or list/tuple, not {type(parts.buffer).__name__}; lower-case calls take any object") from None
    return memory, of_dtype(dtype) if parts.datatype is None else as_datatype(parts.datatype)


def _whole(size_bytes: int, datatype: Datatype) -> int:
    if size_bytes == 0:
        return 0
    count, rest = divmod(size_bytes, datatype.extent) if datatype.extent > 0 else (0, 1)
    if rest:
        raise ValueError(f"message: cannot infer count, buffer length {size_bytes} is not a multiple of datatype extent {datatype.extent}")
    return count


def _displacement(value: Any) -> int:
    displacement = int(value.__index__())
    if displacement < 0:
        raise ValueError(f"message: negative displacement {displacement}")
    return displacement


def _numbers(values: Any, blocks: int, spread: Callable[[int, int], int]) -> list[int]:
    """A list of `blocks` integers; one integer stands for all of them."""
    if hasattr(values, "__index__") and not isinstance(values, np.ndarray):
        return [spread(int(values.__index__()), index) for index in range(blocks)]
    numbers = [int(value) for value in values]
    if len(numbers) != blocks:
        raise ValueError(f"message: expecting {blocks} items, got {len(numbers)}")
    return numbers
