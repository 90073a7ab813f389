"""What must work when nothing else does: leaving the process, and noticing that nothing moves.

Invariant: nothing here calls MPI or takes a lock that another module holds. `os._exit` is the way out after an error, because MPI_Finalize (which
a normal exit runs) waits for ranks that will never come.

    watchdog = Watchdog(timeout_s=300, on_stall=lambda step, report: abort_process(report))
    with watchdog.watch("step 7") as progress:
        progress.advance()                       # any thread, whenever something has moved
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, NoReturn

_exit = os._exit  # kept: a worker replaces it, so that user functions do not use it unseen
EXIT_FAILURE = 70
"""Exit status of a rank that ends itself after an error (EX_SOFTWARE)."""


class Progress:
    """A counter that its owner advances; racing increments may merge, which is harmless: only change matters."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def advance(self) -> None:
        self.count += 1


class Watchdog:
    """A daemon thread that calls `on_stall(name, report)` once for every watched step without progress for `timeout_s` seconds.

    The report holds the stacks of all threads; it has been written to stderr before the call.
    """

    def __init__(self, timeout_s: float = 300.0, on_stall: Callable[[str, str], None] | None = None) -> None:
        if timeout_s <= 0:
            raise ValueError(f"timeout_s={timeout_s}: give a positive number of seconds")
        self.timeout_s = timeout_s
        self._on_stall = on_stall
        self._watched: dict[int, tuple[str, Progress]] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self, name: str) -> Iterator[Progress]:
        """Watch one step for the length of the block."""
        progress = Progress()
        with self._lock:
            token = self._next
            self._next += 1
            self._watched[token] = (name, progress)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hpcflow-watchdog", daemon=True)
                self._thread.start()
        try:
            yield progress
        finally:
            with self._lock:
                self._watched.pop(token, None)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        seen: dict[int, tuple[int, float]] = {}  # token -> (count, when it was first seen)
        reported: set[int] = set()
        while not self._stopped.wait(min(1.0, self.timeout_s / 4)):
            with self._lock:
                watched = dict(self._watched)
            now = time.monotonic()
            seen = {token: entry for token, entry in seen.items() if token in watched}
            for token, (name, progress) in watched.items():
                count, since = seen.get(token, (-1, now))
                if progress.count != count:
                    seen[token] = (progress.count, now)
                    reported.discard(token)
                elif now - since >= self.timeout_s and token not in reported:
                    reported.add(token)
                    self._report(name, now - since)

    def _report(self, name: str, idle_s: float) -> None:
        report = f"hpcflow: {name} made no progress for {idle_s:.0f} s on {where()}; stacks of all threads:\n{all_stacks()}"
        write_report(report)
        if self._on_stall is not None:
            try:
                self._on_stall(name, report)
            except Exception:
                write_report("hpcflow: the watchdog's handler failed\n" + traceback.format_exc())


def where() -> str:
    """`host:pid`, plus the rank where the launcher has put it into the environment."""
    rank = next((os.environ[name] for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID") if name in os.environ), None)
    return f"{socket.gethostname()}:{os.getpid()}" + ("" if rank is None else f" (rank {rank})")


def all_stacks() -> str:
    """The stacks of all threads as text, taken without running Python code in them."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.seek(0)
        return file.read()


def write_report(report: str) -> None:
    """Write to the real stderr and flush, whatever has been put in its place; never raises."""
    streams: list[IO[str] | None] = [sys.__stderr__ or sys.stderr]
    for stream in streams:
        with contextlib.suppress(Exception):
            if stream is not None:
                stream.write(report if report.endswith("\n") else report + "\n")
                stream.flush()


def end_process(exit_code: int = EXIT_FAILURE) -> NoReturn:
    """Flush stdout and stderr and leave by `os._exit`: no atexit handlers, no MPI_Finalize."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):
            if stream is not None:
                stream.flush()
    _exit(exit_code if exit_code != 0 else EXIT_FAILURE)


def leave_process(exit_code: int = 0) -> NoReturn:
    """End after MPI_Finalize, without running the rest of a program: libc's `exit`, not `os._exit`. The GIL is kept: no other thread runs meanwhile.

    MPICH tells its launcher in an exit handler that the rank has finalized. Without it mpirun takes the end for a crash and kills the other ranks
    (measured: in about one of four runs with the MPICH 5.0.2 wheel; rank 0's exit status is lost then).
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    ctypes.PyDLL(None).exit(exit_code)
    _exit(exit_code)  # not reached


def abort_process(report: str, exit_code: int = EXIT_FAILURE) -> NoReturn:
    """Write `report` to stderr and end this rank at once with a non-zero status; the launcher ends the other ranks."""
    write_report(report)
    end_process(exit_code)


def install_excepthooks(exit_code: int = EXIT_FAILURE) -> Callable[[], None]:
    """Make an uncaught exception on the main thread or any other thread end this rank; returns a function that puts the old hooks back.

    KeyboardInterrupt ends with 130, and SystemExit keeps Python's own way. To be installed where this process is one of several ranks.
    """
    old_main, old_thread = sys.excepthook, threading.excepthook

    def on_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        _report_and_end(kind, error, trace, "the main thread", exit_code)

    def on_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_type is SystemExit:
            return
        name = arguments.thread.name if arguments.thread is not None else "a thread"
        _report_and_end(arguments.exc_type, arguments.exc_value, arguments.exc_traceback, f"thread {name}", exit_code)

    def restore() -> None:
        if sys.excepthook is on_main:
            sys.excepthook = old_main
        if threading.excepthook is on_thread:
            threading.excepthook = old_thread

    sys.excepthook, threading.excepthook = on_main, on_thread
    return restore


def _report_and_end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, place: str, exit_code: int) -> NoReturn:
    text = "".join(traceback.format_exception(kind, error, trace))
    abort_process(f"hpcflow: uncaught exception in {place} on {where()}; this rank ends now\n{text}", 130 if kind is KeyboardInterrupt else exit_code)
