"""Has the thread that runs a program got on since the last look? Two ways to tell, for a process of its own and for threads of one process.

Invariant: a look costs some microseconds and disturbs nothing. A rank that waits in MPI does not get on, however much CPU time its library spends on
polling; one that computes does, also within one long call.

    probe = MainThreadActivity(engine)
    probe.look()                                  # True: it has got on since the look before
"""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Any, Protocol

from hpcflow.comm.engine import Engine
from hpcflow.runtime.standing import current_frame, standing_of
from hpcflow.runtime.vitals import ActivityMeter

_LEAST_THREAD_CPU_S = 20e-6


class Activity(Protocol):
    """What the watch asks."""

    thread: int
    """Ident of the thread."""

    def look(self) -> bool:
        """Whether the thread has got on since the look before."""

    def stirred(self) -> bool:
        """Whether the thread itself has run since the last look, however short ago that was."""


class MainThreadActivity:
    """For ranks that are processes. The interpreter is asked to call us back from the main thread: it does as soon as that runs Python code again.

    Without a call back the thread is inside one call. That counts as waiting when it is one of MPI's, else by CPU time, and bytes read or written.
    """

    def __init__(self, engine: Engine) -> None:
        self.thread = threading.main_thread().ident or 0
        self._meter = ActivityMeter(engine)
        self._count = self._meter.count
        self._ran = threading.Event()
        self._ran.set()
        self._call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._called)
        _CALLS.append(self._call)

    def look(self) -> bool:
        before, self._count = self._count, self._meter.look()
        if self._ran.is_set():
            self._ran.clear()
            if ctypes.pythonapi.Py_AddPendingCall(self._call, None) != 0:  # its list is full: the thread has not run for long, or others use it
                self._ran.set()
            return True
        return self._count != before and not standing_of(current_frame(self.thread)).waits_in_mpi

    def stirred(self) -> bool:
        return self._ran.is_set()

    def _called(self, argument: Any) -> int:
        self._ran.set()
        return 0


_CALLS: list[Any] = []  # the interpreter may call back after the last look: kept for the life of the process, one object a program run


class ThreadActivity:
    """For ranks that are threads of one process: by the thread's own CPU time (who waits for another thread spends none) and the process's."""

    def __init__(self, engine: Engine, thread: int) -> None:
        self.thread = thread
        self._meter = ActivityMeter(engine)
        self._count = self._meter.count
        self._cpu_s = 0.0

    def look(self) -> bool:
        before, self._count = self._count, self._meter.look()
        try:
            cpu_s = time.clock_gettime(time.pthread_getcpuclockid(self.thread))
        except OSError:
            return False  # it has ended
        spent, self._cpu_s = cpu_s - self._cpu_s, cpu_s
        return spent > _LEAST_THREAD_CPU_S or self._count != before

    def stirred(self) -> bool:
        try:
            return time.clock_gettime(time.pthread_getcpuclockid(self.thread)) - self._cpu_s > _LEAST_THREAD_CPU_S
        except OSError:
            return False
