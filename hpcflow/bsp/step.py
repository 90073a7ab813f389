"""One bsp step on a worker: the thread that user MPI code runs on, the order of steps, and what a failure means to the other ranks.

Invariant: a worker has one such thread; it is neither the engine's nor a task's, and runs steps one at a time in the order in which they were
submitted, which is that of their numbers and the same on all workers. Two steps whose functions call collectives never wait for each other.

    thread = UserThread("hpcflow-bsp-0")
    thread.submit(step, lambda: step.call(function))         # from any thread; returns at once
    thread.still()                                           # (step's number, seconds at one place) for whoever watches
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from hpcflow.bsp.checked_comm import finish_checks
from hpcflow.errors import ActionCancelledError, HpcflowError
from hpcflow.shuffle.exchange import ExchangeService

T = TypeVar("T")
_LEAST_CPU_S = 0.002
"""What a sleeping thread does not spend between two looks."""
_EXCHANGE_BITS = 24
"""A step may open 2**24 exchanges; theirs have numbers above all that the master gives out."""


class Step:
    """One step on one worker.

    Args:
        number: from the master's one sequence.
        make_context: gives the `hpcflow.bsp.context.Context` that the function sees, once `call` begins.
        exchanges: of this worker; what the step has opened is closed with it.
    """

    def __init__(self, number: int, make_context: Callable[[Step], Any], exchanges: ExchangeService) -> None:
        self.number = number
        self.left = False
        """The function has returned: no other rank waits for this one any more."""
        self.cancelled: str | None = None
        self._make_context = make_context
        self._exchanges = exchanges
        self._opened = 0
        self._lock = threading.Lock()

    def call(self, function: Callable[[Any], T]) -> T:
        """`function(context)`; once a step."""
        context = self._make_context(self)
        value = function(context)
        context.end()
        finish_checks(context.comm)
        self.left = True
        return value

    def next_exchange(self) -> int:
        """The number of the step's next exchange, the same on all workers."""
        with self._lock:
            if self.cancelled is not None:
                raise ActionCancelledError(self.cancelled)
            if self._opened + 1 >= 1 << _EXCHANGE_BITS:
                raise HpcflowError(f"a bsp step may open {(1 << _EXCHANGE_BITS) - 1} exchanges: split it into several steps")
            self._opened += 1
            return self.number << _EXCHANGE_BITS | self._opened

    def cancel(self, reason: str) -> None:
        """End the waits of the step's exchanges on this rank, and refuse new ones (any thread)."""
        with self._lock:
            self.cancelled = self.cancelled or reason
            opened = range(1, self._opened + 1)
        for index in opened:
            self._exchanges.abort(self.number << _EXCHANGE_BITS | index, reason)


class UserThread:
    """The thread. It is started by the first step.

    Args:
        name: of the thread.
        waits: whether a thread that stands here is inside a call of MPI that waits for other ranks.
    """

    def __init__(self, name: str, waits: Callable[[FrameType | None], bool] = lambda frame: True) -> None:
        self.name = name
        self._waits = waits
        self._cpu_s = 0.0
        self._steps: queue.SimpleQueue[tuple[int, Callable[[], None]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last = 0
        self._running: int | None = None
        self._place: object = None
        self._since = 0.0

    def submit(self, number: int, run: Callable[[], None]) -> None:
        """Run it after all that were submitted before; `run` does not raise. Call from one thread."""
        if number <= self._last:
            raise HpcflowError(f"bsp step {number} came after step {self._last}: the master gives steps out in one order")
        self._last = number
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self.name, daemon=True)
            self._thread.start()
        self._steps.put((number, run))

    def still(self) -> tuple[int, float] | None:
        """(number of the step that runs, seconds since its thread was first seen where it stands now); None when none runs.

        A thread has got on when it is at another instruction than at the look before, when a name there has another value, or when it has computed
        outside of MPI: a rank that waits for others has not, however much CPU time its MPI library spends on polling.
        """
        running, thread = self._running, self._thread
        if running is None or thread is None or thread.ident is None:
            return None
        frame = sys._current_frames().get(thread.ident)
        place, now = (running, place_of(frame)), time.monotonic()
        before, self._cpu_s = self._cpu_s, _cpu_seconds(thread.ident)
        if place != self._place or (self._cpu_s - before > _LEAST_CPU_S and not self._waits(frame)):
            self._place, self._since = place, now
        return running, now - self._since

    def stop(self, timeout_s: float) -> None:
        """End the thread after the steps that were submitted; a stuck one is left behind."""
        self._steps.put(None)
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _serve(self) -> None:
        while (item := self._steps.get()) is not None:
            self._running, run = item
            try:
                run()
            finally:
                self._running = None


def _cpu_seconds(ident: int) -> float:
    """CPU time of a thread of this process; 0 where it has ended or the system does not say."""
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except (OSError, AttributeError):
        return 0.0


def place_of(frame: FrameType | None) -> tuple[object, ...]:
    """Equal for two looks at a thread between which it has not got on; takes microseconds."""
    found: list[object] = []
    while frame is not None:
        names = tuple((name, id(value), value if type(value) in (int, float, bool) else None) for name, value in list(frame.f_locals.items()))
        found.append((id(frame), frame.f_lasti, names))
        frame = frame.f_back
    return tuple(found)
