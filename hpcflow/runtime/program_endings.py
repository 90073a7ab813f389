"""How a rank of a program ends over MPI: after a failure, Ctrl-C or SIGTERM, also while it stands in a call of MPI that will not return.

Invariant: a failure is told once, by the rank that raised; the process then leaves by `os._exit` with a status that is not 0, since other ranks may
stand in a collective, and the launcher ends them. Python runs a signal's handler only when the main thread is back from C code; a thread that reads
the wake-up pipe notices the signal at once, waits `GRACE_S` for the handler, and ends the process when that could not run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import NoReturn, Self

from hpcflow.bsp.place import Description
from hpcflow.bsp.together import told_by
from hpcflow.comm.watchdog import abort_process, end_process, write_report
from hpcflow.runtime.endings import INTERRUPTED, TERMINATED, ProcessWatch, terminate_in_order
from hpcflow.runtime.standing import call_site, current_frame, standing_of, users_frames

GRACE_S = 1.0
"""For the main thread to come back from C code and run a signal's handler."""
FAILED = 1
"""Exit status of a rank after an exception, as Python's."""


class Terminated(SystemExit):
    """SIGTERM, raised on the main thread."""


LAUNCHER_GRACE_S = 2.0
"""For the launcher to end this rank after another one has failed; then it ends itself."""


def status_of(error: BaseException) -> int:
    """Exit status of a rank whose program raised `error`; never 0."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return FAILED


def leave_after(status: int) -> NoReturn:
    """Another rank has failed with `status`, and has said so."""
    time.sleep(LAUNCHER_GRACE_S)
    end_process(status)


def leave_after_loss(rank: int, description: Description) -> NoReturn:
    """The process of another rank on this host has ended in the middle of the program."""
    time.sleep(LAUNCHER_GRACE_S)
    abort_process(f"hpcflow: rank {rank} on {description.host} (process {description.pid}) has ended in the middle of the program; all ranks end")


def watch_peers(ranks: Sequence[Description], own: int) -> ProcessWatch:
    """Notice the end of another rank's process on this host, whatever the launcher does."""
    here = (ranks[own].host, ranks[own].namespace)
    near = {one.pid: rank for rank, one in enumerate(ranks) if (one.host, one.namespace) == here and rank != own}
    return ProcessWatch({pid: partial(leave_after_loss, rank, ranks[rank]) for pid, rank in near.items()})


def report_and_end(error: BaseException, rank: int, size: int) -> NoReturn:
    """Write one report and leave."""
    who = f"hpcflow: rank {rank} of {size} on {socket.gethostname()} (process {os.getpid()})"
    site = call_site(error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        abort_process(f"{who} was interrupted at {site}; all ranks end", status_of(error))
    if isinstance(error, Terminated):
        abort_process(f"{who} was told to end (SIGTERM) at {site}; all ranks end", status_of(error))
    if isinstance(error, SystemExit):
        if not isinstance(error.code, int):
            write_report(f"{error.code}")
        elif error.code:
            write_report(f"{who} left by sys.exit({error.code}) at {site}; all ranks end")
        end_process(status_of(error))
    told = told_by(error)
    if told is not None:
        abort_process(f"{who} ends at {site}: rank {told} raised {type(error).__name__}", FAILED)
    text = "".join(traceback.format_exception(type(error), error, users_frames(error.__traceback__)))
    abort_process(f"{who} failed at {site}; all ranks end\n{text}", FAILED)


class Interrupts:
    """`with Interrupts(rank):` Ctrl-C and SIGTERM raise on the main thread, or end the process when that stands in C code. Elsewhere than on the main
    thread, and for a signal that the program handles itself, it does nothing."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._handled = threading.Event()
        self._old_handlers: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._main = threading.get_ident()
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._old_handlers[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
        present = signal.getsignal(signal.SIGTERM)
        if present is signal.SIG_DFL or getattr(present, "__module__", "") == terminate_in_order.__module__:
            self._old_handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._terminate)
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self._read, True)
        self._old_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="hpcflow-signals", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() returned
        os.close(self._write)  # ends the thread

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._handled.set()
        raise KeyboardInterrupt

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._handled.set()
        raise Terminated(TERMINATED)

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while numbers := os.read(self._read, 64):
                for number in numbers:
                    if number in self._old_handlers:
                        self._end_unless_handled(number)
        os.close(self._read)

    def _end_unless_handled(self, number: int) -> None:
        if self._handled.wait(GRACE_S):
            self._handled.clear()
            return
        status = INTERRUPTED if number == signal.SIGINT else TERMINATED
        stands = standing_of(current_frame(self._main))
        what = "was interrupted" if number == signal.SIGINT else "was told to end (SIGTERM)"
        abort_process(f"hpcflow: rank {self._rank} on {socket.gethostname()} {what} and stands in {stands}; all ranks end", status)
