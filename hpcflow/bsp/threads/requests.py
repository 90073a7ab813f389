"""The twins of `mpi4py.MPI.Request` and `Prequest`.

Invariant: a request is finished by the first Wait or Test that finds it done (lower-case ones return its object) and is null from then on; an
error of the operation is raised by that call, on this rank. Waiting is interrupted by the group's abort.

    request = comm.irecv(source=1)
    message = request.wait()
    MPI.Request.Waitall([comm.Isend(x, 1), comm.Irecv(y, 1)])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hpcflow.bsp.threads.errors import ERR_REQUEST, MpiError
from hpcflow.bsp.threads.foreign import ANY_SOURCE, ANY_TAG, UNDEFINED
from hpcflow.bsp.threads.rounds import raise_failure
from hpcflow.bsp.threads.status import Status, fill_status
from hpcflow.bsp.threads.waiting import Completion, ThreadGroup


class Request:
    """A call in progress. `Request()` is null: done, and nothing to wait for."""

    __slots__ = ("_cancel", "_completion", "_group")

    def __init__(
        self, group: ThreadGroup | None = None, completion: Completion | None = None, cancel: Callable[[Completion], None] | None = None
    ) -> None:
        self._group = group
        self._completion = completion
        self._cancel = cancel

    @property
    def _active(self) -> bool:
        return self._completion is not None

    def __bool__(self) -> bool:
        return self._active

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
            _wait_for_one(requests)

    @classmethod
    def Waitany(cls, requests: Sequence[Request], status: Any = None) -> int:
        return cls.waitany(requests, status)[0]

    @classmethod
    def testany(cls, requests: Sequence[Request], status: Any = None) -> tuple[int, bool, Any]:
        for index, request in enumerate(requests):
            if request._active and request.get_status():
                return index, True, request._finish(status)
        return UNDEFINED, not any(request._active for request in requests), None

    @classmethod
    def Testany(cls, requests: Sequence[Request], status: Any = None) -> tuple[int, bool]:
        return cls.testany(requests, status)[:2]

    @classmethod
    def waitsome(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> tuple[list[int] | None, list[Any] | None]:
        """Indices and objects of all that are done, at least one; (None, None) when all are null."""
        _wait_for_one(requests)
        return cls.testsome(requests, statuses)

    @classmethod
    def Waitsome(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> list[int] | None:
        return cls.waitsome(requests, statuses)[0]

    @classmethod
    def testsome(cls, requests: Sequence[Request], statuses: list[Any] | None = None) -> tuple[list[int] | None, list[Any] | None]:
        if not any(request._active for request in requests):
            return None, None
        indices = [index for index, request in enumerate(requests) if request._active and request.get_status()]
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


class Prequest(Request):
    """A send or receive that is begun again and again: `Send_init`, then `Start` and `Wait` in each round."""

    __slots__ = ("_begin",)

    def __init__(self, begin: Callable[[], Request]) -> None:
        super().__init__()
        self._begin = begin

    def __bool__(self) -> bool:
        return True

    def Start(self) -> None:
        """Begin; the round before has been waited for."""
        if self._active:
            raise MpiError(ERR_REQUEST, "Start before the Wait of the round before")
        begun = self._begin()
        self._group, self._completion, self._cancel = begun._group, begun._completion, begun._cancel

    @classmethod
    def Startall(cls, requests: Sequence[Prequest]) -> None:
        for request in requests:
            request.Start()


def _wait_for_one(requests: Sequence[Request]) -> None:
    """Return when an active one is done, or none is active."""
    group = next((request._group for request in requests if request._active), None)
    if group is not None:
        group.wait([request._completion for request in requests if request._completion is not None])


def _statuses(requests: Sequence[Any], statuses: list[Any] | None) -> list[Any]:
    """One status a request: the list given is filled up, as in mpi4py."""
    if statuses is None:
        return [None] * len(requests)
    statuses.extend(Status() for _ in range(len(requests) - len(statuses)))
    return statuses[: len(requests)]
