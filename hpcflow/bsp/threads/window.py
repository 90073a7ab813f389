"""Shared-memory windows: memory that all ranks of a communicator see, as far as an array of the node needs it.

Invariant: the parts of the ranks lie one after the other in one block, zeroed at the start; what a rank writes before a Fence is seen by all
behind it.

    window = MPI.Win.Allocate_shared(8 * n if comm.rank == 0 else 0, 8, comm=comm)
    memory, _ = window.Shared_query(0)
    table = np.ndarray(buffer=memory, dtype="f8", shape=(n,))
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from hpcflow.bsp.thread_comm import ThreadComm
from hpcflow.bsp.threads.errors import ERR_ARG, ERR_COMM, ERR_WIN, MpiError
from hpcflow.bsp.threads.foreign import is_proc_null, rank_of
from hpcflow.bsp.threads.rounds import Call

_ALIGNMENT = 64


class Win:
    """One rank's view of a shared window."""

    def __init__(self, comm: ThreadComm, parts: list[tuple[memoryview, int]]) -> None:
        self._comm = comm
        self._parts: list[tuple[memoryview, int]] | None = parts

    @classmethod
    def Allocate_shared(cls, size: int, disp_unit: int = 1, info: Any = None, comm: Any = None) -> Win:
        """A window to which every rank brings `size` bytes. Collective over `comm`."""
        if not isinstance(comm, ThreadComm):
            raise MpiError(ERR_COMM, "Allocate_shared(size, disp_unit, comm=...) takes the communicator of the ranks that share the memory: name it")
        if size < 0:
            raise MpiError(ERR_ARG, f"a window of {size} bytes")
        private = comm.Dup()  # fences meet nobody else's collectives
        return cls(private, private._meet(Call("Win.Allocate_shared", send=(size, disp_unit)), _allocate))

    def Shared_query(self, rank: int) -> tuple[memoryview, int]:
        """The memory of a rank, as bytes, and its unit; PROC_NULL: of the first rank that brought any."""
        parts = self._open()
        if is_proc_null(rank, len(parts)):
            return next((part for part in parts if len(part[0])), parts[0])
        index = rank_of(rank, len(parts))
        assert index is not None
        return parts[index]

    def tomemory(self) -> memoryview:
        """This rank's own part."""
        return self._open()[self._comm.rank][0]

    def Fence(self, assertion: int = 0) -> None:
        """Wait for all ranks; their writes before it are seen behind it. Collective."""
        self._open()
        self._comm.Barrier()

    def Sync(self) -> None:
        """Threads see each other's writes at once."""
        self._open()

    def Lock_all(self, assertion: int = 0) -> None:
        """Begin an epoch of loads and stores; nothing to wait for."""
        self._open()

    Unlock_all = Flush_all = Sync

    def Free(self) -> None:
        """Collective. Arrays made of the memory stay valid: they keep it."""
        self.Fence()
        self._parts = None
        self._comm.Free()

    def _open(self) -> list[tuple[memoryview, int]]:
        if self._parts is None:
            raise MpiError(ERR_WIN, "the window has been freed")
        return self._parts


def _allocate(calls: list[Call]) -> None:
    ends = list(itertools.accumulate(call.send[0] for call in calls))
    memory = np.zeros(ends[-1] + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    view = memory.data
    parts = [(view[first + end - call.send[0] : first + end], call.send[1]) for call, end in zip(calls, ends, strict=True)]
    for call in calls:
        call.result = parts
