"""What ends a process of a job from outside: a signal, or another process that has gone.

Invariant: nobody waits for a rank that will never come, and a signal to the driver ends the job in order (sinks aborted, workers told). How a process
leaves is `comm.watchdog`'s to know.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from hpcflow.comm.watchdog import EXIT_FAILURE, where, write_report
from hpcflow.errors import ConfigError, LaunchError

TERMINATED = 128 + signal.SIGTERM
INTERRUPTED = 128 + signal.SIGINT
_terminated = threading.Event()


def ignore_interrupts() -> None:
    """On a worker: Ctrl-C reaches every process of a terminal, and what becomes of the job is the driver's to say."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def terminate_in_order(is_ending: Callable[[], bool]) -> None:
    """On the driver: SIGTERM raises SystemExit(143) on the main thread; a handler of the program stays.

    is_ending: whether the process is on its way out anyway; the signal is ignored then, so that it does not interrupt the cleaning up.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def on_terminate(number: int, frame: FrameType | None) -> None:
        if not is_ending():
            _terminated.set()
            write_report(f"hpcflow: {where()} was told to end (SIGTERM); all ranks end")
            raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, on_terminate)


@contextlib.contextmanager
def told_by_rank_0(rank: int) -> Iterator[None]:
    """Every rank runs the line that opens a session or runs a program, and meets the same wrong option or launch: rank 0 raises, the others say one
    line and end."""
    try:
        yield
    except (ConfigError, LaunchError) as error:
        if rank == 0:
            raise
        write_report(f"hpcflow: rank {rank} on {socket.gethostname()} ends: {str(error)[:160]}")
        raise SystemExit(1) from None


def uncaught() -> BaseException | None:
    """The exception that ended the program, seen from an exit handler; None after an ordinary end and after `sys.exit`."""
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def failure_status() -> int:
    """Exit status of a driver that cannot end in order: says Ctrl-C and SIGTERM as shells do."""
    if _terminated.is_set():
        return TERMINATED
    return INTERRUPTED if isinstance(uncaught(), KeyboardInterrupt) else EXIT_FAILURE


def report_exits(rank: int) -> None:
    """On a worker: `os._exit` by a user function says so, and its status is not 0 (mpirun takes 0 for a good end, whatever the others come to)."""
    leave, pid = os._exit, os.getpid()

    def exit_of_user(status: int) -> NoReturn:
        if os.getpid() == pid:  # not in a forked child, which may leave as it likes
            place = "".join(traceback.format_stack(sys._getframe(1), limit=3))
            write_report(f"hpcflow: os._exit({status}) was called on rank {rank} on {where()}; all ranks end\n{place}")
            status = status or EXIT_FAILURE
        leave(status)

    os._exit = exit_of_user


class ProcessWatch:
    """Tells at once when a process of this host ends, whoever started it. Linux only (pidfd); elsewhere it watches nothing and the launcher notices.

    watch = ProcessWatch({pid: lambda: ...}); watch.stop()
    """

    def __init__(self, on_end: dict[int, Callable[[], None]]) -> None:
        self._stopped = threading.Event()
        self._handlers: dict[int, Callable[[], None]] = {}
        for pid, handler in on_end.items():
            with contextlib.suppress(OSError, AttributeError):  # gone meanwhile: MPI or the launcher will say so; or no such call here
                self._handlers[os.pidfd_open(pid)] = handler
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)
        threading.Thread(target=self._run, name="hpcflow-process-watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no more. Twice is fine."""
        if not self._stopped.is_set():
            self._stopped.set()
            os.write(self._wake_write, b"x")

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in (self._wake_read, *self._handlers):
            poll.register(descriptor, select.POLLIN)
        while not self._stopped.is_set():
            for descriptor, _ in poll.poll():
                if descriptor in self._handlers and not self._stopped.is_set():
                    poll.unregister(descriptor)
                    self._handlers[descriptor]()
        for descriptor in (self._wake_read, self._wake_write, *self._handlers):
            os.close(descriptor)
