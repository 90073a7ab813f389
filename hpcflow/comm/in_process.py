"""Threads as ranks: the same messages, moved by copying between buffers of one process.

Invariant: as over MPI, the receiver gets a copy in a buffer of its own and the sender's request is done only after that copy, so that code which
reuses a buffer too early, or waits for a receiver that never comes, fails here as it would there.

    ranks = open_group(3)                        # three InProcessComm, one per thread
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from hpcflow.comm.base import Buffer
from hpcflow.errors import WorkerLostError


class _Message:
    """A buffer of the sender waiting in the receiver's queue. `done` is set by the receiver, read by the sender."""

    __slots__ = ("_group", "buffer", "done", "size_bytes", "source", "tag")

    def __init__(self, group: _Group, source: int, tag: int, buffer: memoryview) -> None:
        self._group = group
        self.source = source
        self.tag = tag
        self.buffer: memoryview | None = buffer
        self.size_bytes = buffer.nbytes
        self.done = False

    def test(self) -> bool:
        return self.done

    def receive_into(self, buffer: Buffer) -> _Received:
        if self.buffer is None:
            raise ValueError("this message has been received already: receive_into is called once per poll")
        target = _bytes_of(buffer)
        if target.nbytes < self.size_bytes:
            raise ValueError(f"a buffer of {target.nbytes} bytes for a message of {self.size_bytes} bytes: allocate at least size_bytes")
        if self.size_bytes:  # NumPy's copy runs without the GIL
            np.copyto(np.frombuffer(target, np.uint8, self.size_bytes), np.frombuffer(self.buffer, np.uint8))
        self.buffer = None
        self.done = True
        self._group.wake(self.source)
        return _Received()


class _Received:
    def test(self) -> bool:
        return True


class _Group:
    """What the ranks share: an inbox each (deque: append and popleft are atomic) and who has aborted."""

    def __init__(self, size: int) -> None:
        self.inboxes: tuple[deque[_Message], ...] = tuple(deque() for _ in range(size))
        self.aborted: tuple[int, int] | None = None
        self.lock = threading.Lock()
        self.wakers: list[Callable[[], None] | None] = [None] * size

    def wake(self, rank: int) -> None:
        waker = self.wakers[rank]
        if waker is not None:
            waker()


class InProcessComm:
    """One rank of a group of threads. Use `open_group`."""

    def __init__(self, group: _Group, rank: int) -> None:
        self.rank = rank
        self.size = len(group.inboxes)
        self.node_ranks = tuple(range(self.size))
        self._group = group
        self._closed = False

    def isend(self, buffer: Buffer, destination: int, tag: int) -> _Message:
        self._check()
        if not 0 <= destination < self.size:
            raise ValueError(f"destination {destination} in a group of {self.size} ranks: give a rank in 0..{self.size - 1}")
        message = _Message(self._group, self.rank, tag, _bytes_of(buffer))
        self._group.inboxes[destination].append(message)
        self._group.wake(destination)
        return message

    def poll(self) -> _Message | None:
        self._check()
        try:
            return self._group.inboxes[self.rank].popleft()
        except IndexError:
            return None

    def set_waker(self, wake: Callable[[], None]) -> bool:
        self._group.wakers[self.rank] = wake
        return True

    def close(self) -> None:
        self._closed = True
        self._group.wakers[self.rank] = None

    def abort(self, exit_code: int) -> None:
        """Threads cannot be ended: every further call of any rank of the group raises WorkerLostError instead."""
        with self._group.lock:
            if self._group.aborted is None:
                self._group.aborted = (self.rank, exit_code)
        for rank in range(self.size):
            self._group.wake(rank)

    def _check(self) -> None:
        if self._group.aborted is not None:
            rank, code = self._group.aborted
            raise WorkerLostError(f"rank {rank} of this in-process group has aborted with exit code {code}; its report is above. Start a new session")
        if self._closed:
            raise WorkerLostError(f"rank {self.rank} of this in-process group is closed; start a new session")


def open_group(size: int) -> list[InProcessComm]:
    """`size` connected ranks; hand one to each thread."""
    if size < 1:
        raise ValueError(f"a group of {size} ranks: at least one is needed")
    group = _Group(size)
    return [InProcessComm(group, rank) for rank in range(size)]


def _bytes_of(buffer: Buffer) -> memoryview:
    view = memoryview(buffer)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")
