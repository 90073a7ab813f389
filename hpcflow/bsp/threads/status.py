"""The twin of `mpi4py.MPI.Status`: what a receive tells about its message.

Invariant: counts are derived from the message's bytes, so that a status may be asked in any type. mpi4py's own Status objects are filled too.

    status = MPI.Status(); comm.Recv(x, MPI.ANY_SOURCE, MPI.ANY_TAG, status)
    status.Get_source(), status.Get_count(MPI.DOUBLE)
"""

from __future__ import annotations

from typing import Any

from hpcflow.bsp.threads.datatypes import NAMED, Datatype, as_datatype
from hpcflow.bsp.threads.errors import SUCCESS
from hpcflow.bsp.threads.foreign import ANY_SOURCE, ANY_TAG, UNDEFINED, is_foreign, mpi4py_module


class Status:
    """Where a message came from and how long it is."""

    __slots__ = ("_cancelled", "_size_bytes", "error", "source", "tag")

    def __init__(self) -> None:
        self.source = ANY_SOURCE
        self.tag = ANY_TAG
        self.error = SUCCESS
        self._size_bytes = 0
        self._cancelled = False

    def Get_source(self) -> int:
        return self.source

    def Set_source(self, source: int) -> None:
        self.source = source

    def Get_tag(self) -> int:
        return self.tag

    def Set_tag(self, tag: int) -> None:
        self.tag = tag

    def Get_error(self) -> int:
        return self.error

    def Set_error(self, error: int) -> None:
        self.error = error

    def Get_count(self, datatype: Any = NAMED["BYTE"]) -> int:
        """Whole items received, UNDEFINED where the message ends within one."""
        kind = as_datatype(datatype)
        size = _packed_size(kind)
        if size == 0:
            return 0
        count, rest = divmod(self._size_bytes, size)
        return UNDEFINED if rest else count

    def Get_elements(self, datatype: Any) -> int:
        return self._size_bytes // as_datatype(datatype).dtype.itemsize

    def Set_elements(self, datatype: Any, count: int) -> None:
        self._size_bytes = count * _packed_size(as_datatype(datatype))

    def Is_cancelled(self) -> bool:
        return self._cancelled

    def Set_cancelled(self, flag: bool) -> None:
        self._cancelled = flag

    @property
    def count(self) -> int:
        return self._size_bytes

    @property
    def cancelled(self) -> bool:
        return self._cancelled


def fill_status(status: Any, source: int, tag: int, size_bytes: int, cancelled: bool = False) -> None:
    """Write to a Status of ours or of mpi4py; None: nobody asks."""
    if status is None:
        return
    status.Set_source(source)
    status.Set_tag(tag)
    status.Set_error(SUCCESS)
    status.Set_elements(mpi4py_module().BYTE if is_foreign(status) else NAMED["BYTE"], size_bytes)
    status.Set_cancelled(cancelled)


def _packed_size(datatype: Datatype) -> int:
    return datatype.size if datatype.dtype.names is None else datatype.extent
