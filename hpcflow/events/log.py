"""EventLog: an append-only JSONL file of event records, and listeners in the process.

Invariants: one record is one line is one `write` call on an `O_APPEND` descriptor, so lines of several threads and processes never mix and a
crash tears at most the last line; the file is readable by its owner only; a listener that raises is dropped, reported once, and never disturbs
the job.

    with EventLog("events.jsonl", job="j1") as log:
        log.subscribe(print)
        log.emit(StageStarted(action=1, stage="S1", tasks=4))
    list(read_events("events.jsonl"))
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from hpcflow.errors import HpcflowError
from hpcflow.events.records import Event, from_json, to_json

Listener = Callable[[Event], None]


class EventLog:
    """Writes records to a file, to listeners, or to both. Thread-safe.

    Args:
        path: the JSONL file, made or appended to; None keeps no file and only calls listeners.
        job: id that is filled into records that carry none.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, job: str = "") -> None:
        self.path = None if path is None else Path(path)
        self.job = job
        self._listeners: tuple[Listener, ...] = ()
        self._lock = threading.Lock()
        self._descriptor: int | None = None if self.path is None else _open_append(self.path)

    def emit(self, event: Event) -> None:
        """Append the record, then call the listeners on this thread. Never raises for a full disk: it says so once on stderr and stops writing."""
        if self._descriptor is None and not self._listeners:
            return
        if not event.job and self.job:
            event = _of_job(event, self.job)
        if self._descriptor is not None:
            self._append(event)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:
                self.unsubscribe(listener)
                print(f"hpcflow: an event listener failed and was removed: {type(error).__name__}: {error}", file=sys.stderr)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(event)` for every later record, on the thread that emits it; returns the function that ends this."""
        with self._lock:
            self._listeners = (*self._listeners, listener)
        return lambda: self.unsubscribe(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Stop calling `listener`; nothing happens when it was not subscribed."""
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

    def close(self) -> None:
        """Close the file; later records reach listeners only."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _append(self, event: Event) -> None:
        line = (to_json(event) + "\n").encode("utf-8", "backslashreplace")
        with self._lock:  # held during one write call: close() must not hand the descriptor's number to another file meanwhile
            if self._descriptor is None:
                return
            try:
                written = os.write(self._descriptor, line)
                if written == len(line):
                    return
                reason = f"only {written} of {len(line)} bytes were written"
            except OSError as error:
                reason = error.strerror or str(error)
            os.close(self._descriptor)
            self._descriptor = None
        advice = "no further events are written. Free space or set event_log to another place"
        print(f"hpcflow: event log {self.path}: {reason}; {advice}", file=sys.stderr)


def read_events(path: str | os.PathLike[str]) -> Iterator[Event]:
    """The records of a log, in file order.

    A torn line is left out: its writer died within it, or is writing it now. A whole line that is no record raises `HpcflowError` with its number.
    """
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield from_json(line)
            except json.JSONDecodeError:
                continue
            except ValueError as error:
                raise HpcflowError(f"event log {os.fspath(path)}, line {number}: {error}") from None


def _of_job(event: Event, job: str) -> Event:
    """A copy with the job's id; what `dataclasses.replace` gives, at a fifth of its cost."""
    copied = object.__new__(type(event))
    copied.__dict__.update(event.__dict__, job=job)
    return copied


def _open_append(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.write(descriptor, b"\n")  # an earlier writer died within its line: ours starts on a new one
        return descriptor
    except OSError as error:
        advice = "set event_log (or HPCFLOW_EVENT_LOG) to a file in a directory you can write"
        raise HpcflowError(f"cannot write the event log {path}: {error.strerror}; {advice}") from None
