"""The twins of `mpi4py.MPI.Request` and `Status`.

Invariant: a request is finished by the first Wait or Test that finds it done (lower-case ones return its object) and is null from then on; an
error of the operation is raised by that call, on this rank. Waiting is interrupted by the group's abort.

    request = comm.irecv(source=1)
    message = request.wait()
    MPI.Request.Waitall([comm.Isend(x, 1), comm.Irecv(y, 1)])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hpcflow.bsp.threads.datatypes import NAMED, Datatype, as_datatype
from hpcflow.bsp.threads.errors import SUCCESS
from hpcflow.bsp.threads.foreign import ANY_SOURCE, ANY_TAG, UNDEFINED, is_foreign, mpi4py_module
from hpcflow.bsp.threads.rounds import raise_failure
from hpcflow.bsp.threads.waiting import Completion, ThreadGroup


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


class Request:
    """A call in progress. `Request()` is null: done, and nothing to wait for."""

    __slots__ = ("_cancel", "_completion", "_group")

    def __init__(
        self, group: ThreadGroup | None = None, completion: Completion | None = None, cancel: Callable[[Completion], None] | None = None
    ) -> None:
        self._group = group
        self._completion = completion
        self._cancel = cancel

    def __bool__(self) -> bool:
        return self._completion is not None

    def Wait(self, status: Any = None) -> bool:
        self.wait(status)
        return True

    def Test(self, status: Any = None) -> bool:
        return self.test(status)[0]

    def wait(self, status: Any = None) -> Any:
        """Wait for the end; the object of a lower-case receive, else None."""
        if self._completion is not None and self._group is not None:
            self._group.wait((self._completion,))
        return self._finish(status)

    def test(self, status: Any = None) -> tuple[bool, Any]:
        if not self.get_status():
            return False, None
        return True, self._finish(status)

    def get_status(self, status: Any = None) -> bool:
        """Whether it is done, without finishing it."""
        if self._completion is None or self._group is None:
            return True
        if not self._completion.done:
            self._group.check()
            return False
        self._describe(self._completion, status)
        return True

    Get_status = get_status

    def cancel(self) -> None:
        """Take a receive back; it then ends at once, with a cancelled status. Nothing happens when a message has been matched."""
        if self._completion is not None and self._cancel is not None:
            self._cancel(self._completion)

    Cancel = cancel

    def Free(self) -> None:
        self._completion = None

    @classmethod
    def waitall(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> list[Any]:
        return [request.wait(status) for request, status in zip(requests, _statuses(requests, statuses), strict=True)]

    @classmethod
    def Waitall(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> bool:
        cls.waitall(requests, statuses)
        return True

    @classmethod
    def testall(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> tuple[bool, list[Any] | None]:
        if not all(request.get_status() for request in requests):
            return False, None
        return True, cls.waitall(requests, statuses)

    @classmethod
    def Testall(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> bool:
        return cls.testall(requests, statuses)[0]

    @classmethod
    def waitany(cls, requests: Sequence[Request], status: Any = None) -> tuple[int, Any]:
        """Index and object of one that is done: the first in the list; UNDEFINED when all are null."""
        while True:
            index, flag, result = cls.testany(requests, status)
            if flag:
                return index, result
            active = [request for request in requests if request]
            group = active[0]._group
            if group is not None:
                group.wait([request._completion for request in active if request._completion is not None])

    @classmethod
    def Waitany(cls, requests: Sequence[Request], status: Any = None) -> int:
        return cls.waitany(requests, status)[0]

    @classmethod
    def testany(cls, requests: Sequence[Request], status: Any = None) -> tuple[int, bool, Any]:
        for index, request in enumerate(requests):
            if request and request.get_status():
                return index, True, request._finish(status)
        return UNDEFINED, not any(requests), None

    @classmethod
    def Testany(cls, requests: Sequence[Request], status: Any = None) -> tuple[int, bool]:
        return cls.testany(requests, status)[:2]

    @classmethod
    def waitsome(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> tuple[list[int] | None, list[Any] | None]:
        """Indices and objects of all that are done, at least one; (None, None) when all are null."""
        active = [request._completion for request in requests if request._completion is not None]
        group = next((request._group for request in requests if request), None)
        if group is None:
            return None, None
        group.wait(active)
        return cls.testsome(requests, statuses)

    @classmethod
    def Waitsome(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> list[int] | None:
        return cls.waitsome(requests, statuses)[0]

    @classmethod
    def testsome(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> tuple[list[int] | None, list[Any] | None]:
        if not any(requests):
            return None, None
        indices = [index for index, request in enumerate(requests) if request and request.get_status()]
        found = _statuses(indices, statuses)
        return indices, [requests[index]._finish(status) for index, status in zip(indices, found, strict=True)]

    @classmethod
    def Testsome(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> list[int] | None:
        return cls.testsome(requests, statuses)[0]

    def _finish(self, status: Any) -> Any:
        completion, self._completion = self._completion, None
        if completion is None:
            fill_status(status, ANY_SOURCE, ANY_TAG, 0)
            return None
        self._describe(completion, status)
        if completion.error is not None:
            raise_failure(completion.error)
        return None if completion.load is None or completion.cancelled else completion.load()

    def _describe(self, completion: Completion, status: Any) -> None:
        if completion.source is None:
            fill_status(status, ANY_SOURCE, ANY_TAG, 0, completion.cancelled)
        else:
            fill_status(status, completion.source, completion.tag, completion.size_bytes)


def _statuses(requests: Sequence[Any], statuses: list[Any] | None) -> list[Any]:
    """One status a request: the list given is filled up, as in mpi4py."""
    if statuses is None:
        return [None] * len(requests)
    statuses.extend(Status() for _ in range(len(requests) - len(statuses)))
    return statuses[: len(requests)]
