"""What a user's function sees beyond its rows: broadcast values that came from the driver, and sums that go back with the task's result.

Invariant: what is added counts with the task that added it, once, and only when that has succeeded; a value is in a process once, whatever the number
of its tasks and workers. `api/shared.py` gives users handles to this, the runtime fills and empties it; neither knows the other.

    with collecting() as sums: ...               # a task: function calls add(key, 1, operator.add); sums == {key: 1}
    with noting() as used: cloudpickle.dumps(f)  # the driver: which broadcast values the function refers to
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from weakref import WeakValueDictionary

from hpcflow.errors import ConfigError, HpcflowError

PROCESS = f"{os.getpid():x}-{uuid.uuid4().hex[:12]}"
"""Begins the keys made in this process."""
ARRIVAL_TIMEOUT_S = 300.0


class Mergeable(Protocol):
    """The driver's end of an accumulator."""

    def merge(self, partial: Any) -> None:
        """Take what one task has added."""


class Shareable(Protocol):
    """The driver's end of a broadcast value."""

    key: str

    @property
    def value(self) -> Any:
        """What is sent."""

    def when_released(self, callback: Callable[[str], None]) -> None:
        """Call `callback(key)` when workers are to let go of it."""


# -- sums -------------------------------------------------------------------------------------------------------------------------------------------

_task = threading.local()
_accumulators: WeakValueDictionary[str, Any] = WeakValueDictionary()


@contextlib.contextmanager
def collecting() -> Iterator[dict[str, Any]]:
    """For the length of a task, on its thread: key -> what its functions have added."""
    before = getattr(_task, "sums", None)
    sums: dict[str, Any] = {}
    _task.sums = sums
    try:
        yield sums
    finally:
        _task.sums = before


def in_task() -> bool:
    """Whether a task runs on this thread."""
    return getattr(_task, "sums", None) is not None


def add(key: str, value: Any, op: Callable[[Any, Any], Any]) -> None:
    """Add to the task's sum. Raises ConfigError where no task runs on this thread."""
    sums = getattr(_task, "sums", None)
    if sums is None:
        raise ConfigError(
            "accumulator.add is for functions that run on workers: map_batches, flat_map, foreach_partition, bsp. Expressions (map_elements) run on "
            "threads of Polars, where nobody knows which task they belong to: use map_batches"
        )
    sums[key] = op(sums[key], value) if key in sums else value


def register(key: str, accumulator: Mergeable) -> None:
    """Let the sums of this key reach `accumulator`, as long as the program keeps it."""
    _accumulators[key] = accumulator


def merge(sums: dict[str, Any]) -> None:
    """Give the sums of one task to their accumulators; those that the program has dropped are not missed."""
    for key, partial in sums.items():
        accumulator = _accumulators.get(key)
        if accumulator is not None:
            accumulator.merge(partial)
        elif not key.startswith(PROCESS):
            raise HpcflowError(
                "a function added to an accumulator that was made on its worker, since its module was imported there: make it in the driver's "
                "program, and pass it to the function as an argument or in a closure"
            )


# -- broadcast values -------------------------------------------------------------------------------------------------------------------------------


class _Value:
    def __init__(self) -> None:
        self.load: Callable[[], Any] | None = None
        self.loaded = False
        self.value: Any = None
        self.lock = threading.Lock()
        self.holders = 0


_values: dict[str, _Value] = {}
_dropped: set[str] = set()
_changed = threading.Condition()


@contextlib.contextmanager
def noting() -> Iterator[dict[str, Shareable]]:
    """For the length of a pickling on this thread: key -> broadcast value that was met."""
    before = getattr(_task, "noted", None)
    noted: dict[str, Shareable] = {}
    _task.noted = noted
    try:
        yield noted
    finally:
        _task.noted = before


def note(value: Shareable) -> None:
    """A handle is being pickled."""
    noted = getattr(_task, "noted", None)
    if noted is not None:
        noted[value.key] = value


def put(key: str, load: Callable[[], Any]) -> None:
    """The value has arrived in this process; `load()` makes it when it is first asked for. Counted: as many `drop` as `put`."""
    with _changed:
        entry = _values.setdefault(key, _Value())
        entry.holders += 1
        entry.load = entry.load or load
        _dropped.discard(key)
        _changed.notify_all()


def get(key: str) -> Any:
    """The value, in a task; waits while it is on its way. Raises HpcflowError when it has been released."""
    with _changed:
        if not _changed.wait_for(lambda: key in _values or key in _dropped, ARRIVAL_TIMEOUT_S) or key not in _values:
            raise HpcflowError("this broadcast value has been unpersisted while a function still used it; call unpersist() after the last action")
        entry = _values[key]
    with entry.lock:
        if not entry.loaded:
            assert entry.load is not None
            entry.value, entry.loaded = entry.load(), True
        return entry.value


def drop(key: str) -> None:
    """A holder lets go of the value."""
    with _changed:
        entry = _values.get(key)
        if entry is not None:
            entry.holders -= 1
            if entry.holders == 0:
                del _values[key]
                _dropped.add(key)
                _changed.notify_all()
