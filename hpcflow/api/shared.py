"""Values that functions share with the driver: `broadcast` sends one to every worker once, `accumulator` brings sums back.

Invariant: both are handles: in a function that runs on a worker they stand for what is there, whatever has been pickled.

    stop_words = hf.broadcast(frozenset(words))
    dropped = hf.accumulator(0)

    def clean(df):
        kept = df.filter(~pl.col("word").is_in(stop_words.value))
        dropped.add(df.height - kept.height)
        return kept

    rows = words.map_batches(clean, schema=words.schema).count()
    print(dropped.value)                          # of the tasks of this action, each counted once
"""

from __future__ import annotations

import itertools
import operator
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from hpcflow.errors import ConfigError
from hpcflow.ir import shared_values

T = TypeVar("T")
_numbers = itertools.count()


def _new_key() -> str:
    return f"{shared_values.PROCESS}-{next(_numbers)}"


class _Releases:
    """Who holds a value for the driver, to be told when it is released. Apart from the handle, so that it outlives it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.callbacks: list[Callable[[], Callable[[str], None] | None]] = []

    def tell(self, key: str) -> None:
        with self.lock:
            callbacks, self.callbacks = self.callbacks, []
        for find in callbacks:
            callback = find()
            if callback is not None:
                callback(key)


class Broadcast(Generic[T]):
    """A value of the driver that functions on workers read as `.value`. Made by `hf.broadcast`."""

    def __init__(self, value: T) -> None:
        self.key = _new_key()
        self._value = value
        self._releases = releases = _Releases()
        weakref.finalize(self, releases.tell, self.key)

    @property
    def value(self) -> T:
        """The value. On workers arrays are read-only."""
        return self._value

    def unpersist(self) -> None:
        """Workers let go of it; the next action that uses it sends it again."""
        self._releases.tell(self.key)

    def when_released(self, callback: Callable[[str], None]) -> None:
        """Call the method `callback(key)` once, at `unpersist` or when the program has dropped the handle. Keeps no object alive."""
        with self._releases.lock:
            self._releases.callbacks.append(weakref.WeakMethod(callback))

    def __reduce__(self) -> tuple[Any, ...]:
        shared_values.note(self)
        return (SentBroadcast, (self.key,))

    def __repr__(self) -> str:
        return f"<hpcflow.Broadcast of {type(self._value).__name__}; read .value in a function>"


class SentBroadcast:
    """What a `Broadcast` is in a function on a worker."""

    def __init__(self, key: str) -> None:
        self.key = key

    @property
    def value(self) -> Any:
        """The driver's value, once a process. Arrays are read-only."""
        return shared_values.get(self.key)

    def unpersist(self) -> None:
        """Not here."""
        raise ConfigError("unpersist is for the driver: call it on what hf.broadcast(value) returned")


class Accumulator(Generic[T]):
    """A sum over tasks. Made by `hf.accumulator`."""

    def __init__(self, initial: T, op: Callable[[T, T], T]) -> None:
        self._key = _new_key()
        self._op = op
        self._value = initial
        self._lock = threading.Lock()
        shared_values.register(self._key, self)

    @property
    def value(self) -> T:
        """`initial` and what the tasks of the actions that have succeeded so far have added, in task order. Driver only."""
        if shared_values.in_task():
            raise ConfigError(_READ_IN_TASK)
        return self._value

    def add(self, value: T) -> None:
        """Add, in a function that runs on a worker."""
        shared_values.add(self._key, value, self._op)

    def merge(self, partial: T) -> None:
        """What one task has added; called by the driver in task order."""
        with self._lock:
            self._value = self._op(self._value, partial)

    def __reduce__(self) -> tuple[Any, ...]:
        return (SentAccumulator, (self._key, self._op))

    def __repr__(self) -> str:
        return f"<hpcflow.Accumulator {self._value!r}>"


class SentAccumulator:
    """What an `Accumulator` is in a function on a worker: it can be added to."""

    def __init__(self, key: str, op: Callable[[Any, Any], Any]) -> None:
        self._key = key
        self._op = op

    @property
    def value(self) -> Any:
        """Not here."""
        raise ConfigError(_READ_IN_TASK)

    def add(self, value: Any) -> None:
        """Counts when the task succeeds."""
        shared_values.add(self._key, value, self._op)

    def __reduce__(self) -> tuple[Any, ...]:
        return (SentAccumulator, (self._key, self._op))


_READ_IN_TASK = (
    "the value of an accumulator is the sum over all tasks and is known on the driver, after the action; inside a task only add() makes sense. "
    "For a sum that all workers see while they run, use ctx.comm.allreduce in a bsp function"
)


def broadcast(value: T) -> Broadcast[T]:
    """Send `value` to every worker process once, when a function that refers to the handle first runs there; functions read `handle.value`.

    Args:
        value: anything that pickles. NumPy arrays, Arrow tables and Polars frames travel without being copied into a pickle. It must not be changed
            afterwards.
    """
    return Broadcast(value)


def accumulator(initial: T = 0, op: Callable[[T, T], T] = operator.add) -> Accumulator[T]:  # type: ignore[assignment]
    """A sum that functions on workers add to and the driver reads after an action.

    Every task counts once, when its action has succeeded; partial sums are merged in task order, so that a program repeats bit for bit. Tasks that
    fill a cache count when they run, not when the cache is read.

    Args:
        initial: the value before anything is added; it is counted once, not once a task.
        op: associative, `op(so far, more)`.
    """
    return Accumulator(initial, op)
