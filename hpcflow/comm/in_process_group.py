"""Collective calls among threads as ranks: every rank lays down what it sends, and each copies its part once all have come.

Invariant: as over MPI, a call is over on a rank when it has its parts and all others have theirs of it, so nobody's buffer is reused too early;
no call waits.

    group = comm.group((0, 2), number=1)         # on both threads
    request = group.alltoall(send, receive)
    while not request.test(): ...
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hpcflow.comm.base import UNIT_BYTES, Buffer

_Bytes = npt.NDArray[np.uint8]


class Meeting:
    """One collective call of a group."""

    def __init__(self, members: int) -> None:
        self.parts: list[list[_Bytes]] = [[] for _ in range(members)]  # [sender][receiver]
        self.absent = self.uncopied = members
        self.lock = threading.Lock()  # the two counters


class InProcessGroup:
    """One rank of a group of threads. Use `InProcessComm.group`."""

    def __init__(
        self,
        members: tuple[int, ...],
        index: int,
        number: int,
        meetings: dict[tuple[int, int], Meeting],
        wake: Callable[[int], None],
        check: Callable[[], None],
    ) -> None:
        self.members = members
        self.index = index
        self.check = check
        self._number = number
        self._calls = 0
        self._meetings = meetings
        self._wake = wake

    def alltoall(self, send: npt.NDArray[np.int64], receive: npt.NDArray[np.int64]) -> _Attendance:
        return self._meet([_bytes_of(row) for row in send], [_bytes_of(row) for row in receive])

    def alltoallv(self, send: Buffer, send_units: Sequence[int], receive: Buffer, receive_units: Sequence[int]) -> _Attendance:
        return self._meet(_blocks(send, send_units), _blocks(receive, receive_units))

    def wake_all(self) -> None:
        for rank in self.members:
            self._wake(rank)

    def forget(self, call: int) -> None:
        del self._meetings[self._number, call]

    def _meet(self, send: list[_Bytes], receive: list[_Bytes]) -> _Attendance:
        self.check()
        call, self._calls = self._calls, self._calls + 1
        meeting = self._meetings.setdefault((self._number, call), Meeting(len(self.members)))
        meeting.parts[self.index] = send
        with meeting.lock:
            meeting.absent -= 1
            everyone = meeting.absent == 0
        if everyone:
            self.wake_all()
        return _Attendance(self, meeting, call, receive)


class _Attendance:
    """One rank's part in a call."""

    def __init__(self, group: InProcessGroup, meeting: Meeting, call: int, receive: list[_Bytes]) -> None:
        self._group = group
        self._meeting = meeting
        self._call = call
        self._receive: list[_Bytes] | None = receive

    def test(self) -> bool:
        self._group.check()
        meeting = self._meeting
        if meeting.absent:
            return False
        if self._receive is not None:
            for parts, target in zip(meeting.parts, self._receive, strict=True):
                np.copyto(target, parts[self._group.index])
            self._receive = None
            with meeting.lock:
                meeting.uncopied -= 1
                last = meeting.uncopied == 0
            if last:
                self._group.forget(self._call)
                self._group.wake_all()
        return meeting.uncopied == 0


def _blocks(buffer: Buffer, units: Sequence[int]) -> list[_Bytes]:
    ends = np.cumsum([0, *units]) * UNIT_BYTES
    whole = np.frombuffer(buffer, np.uint8) if ends[-1] else np.empty(0, np.uint8)
    return [whole[start:end] for start, end in itertools.pairwise(ends)]


def _bytes_of(row: npt.NDArray[np.int64]) -> _Bytes:
    return row.view(np.uint8)
