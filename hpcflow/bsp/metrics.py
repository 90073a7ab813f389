"""Counters, gauges and timers of a program, told to the event log while it runs and when it ends.

Invariant: an update costs about a microsecond; a metric is told at most once a second, and `flush` tells what has changed since, so the log's last
record of a metric is its last value. Each rank has its own.

    ctx.metrics.counter("rows").add(df.height)
    ctx.metrics.gauge("residual").set(residual)
    with ctx.metrics.timer("exchange"):
        ...
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from hpcflow.errors import ConfigError
from hpcflow.events.records import Event, MetricReported

INTERVAL_S = 1.0
"""Least time between two records of one metric."""


class Metric:
    """One named series of numbers. Thread-safe."""

    kind = ""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self.name = name
        self.value = 0.0
        """Counter: the sum; gauge: the last value; timer: seconds, summed."""
        self.count = 0
        """Updates."""
        self.least = float("nan")
        self.most = float("nan")
        """Smallest and largest update; NaN before the first."""
        self._metrics = metrics
        self._told_at = 0.0
        self._told_count = 0
        self._lock = threading.Lock()

    def _update(self, value: float, update: float) -> None:
        with self._lock:
            self.value = value
            self.count += 1
            self.least = update if self.count == 1 else min(self.least, update)
            self.most = update if self.count == 1 else max(self.most, update)
            now = time.monotonic()
            due = now - self._told_at >= INTERVAL_S
            if due:
                self._told_at = now
        if due:
            self.tell()

    def tell(self) -> None:
        """Emit a record, unless nothing has changed since the last one."""
        with self._lock:
            if self.count == self._told_count:
                return
            self._told_count = self.count
            record = MetricReported(
                rank=self._metrics.rank, name=self.name, metric=self.kind, value=self.value, count=self.count, least=self.least, most=self.most
            )
        self._metrics.emit(record)


class Counter(Metric):
    """A sum that grows."""

    kind = "counter"

    def add(self, amount: float = 1) -> None:
        """Add `amount`, at least 0."""
        if amount < 0:
            raise ConfigError(f"counter {self.name!r}: add({amount}); a counter only grows, use a gauge for what falls")
        self._update(self.value + amount, amount)


class Gauge(Metric):
    """A value that changes."""

    kind = "gauge"

    def set(self, value: float) -> None:
        """Take the value it has now."""
        self._update(float(value), float(value))


class Timer(Metric):
    """Seconds spent, summed. `with timer: ...`, from one thread at a time, or `add(seconds)`."""

    kind = "timer"

    def __init__(self, name: str, metrics: Metrics) -> None:
        super().__init__(name, metrics)
        self._started: list[float] = []

    def add(self, seconds: float) -> None:
        """Add a measurement made elsewhere."""
        self._update(self.value + seconds, seconds)

    def __enter__(self) -> Self:
        self._started.append(time.perf_counter())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.add(time.perf_counter() - self._started.pop())


_M = TypeVar("_M", bound=Metric)


class Metrics:
    """The metrics of one rank; made once by name, found by name afterwards."""

    def __init__(self, rank: int, emit: Callable[[Event], None]) -> None:
        self.rank = rank
        self.emit = emit
        self._metrics: dict[str, Metric] = {}
        self._lock = threading.Lock()

    def counter(self, name: str) -> Counter:
        """The counter of this name; ConfigError when the name is that of another kind."""
        return self._metric(name, Counter)

    def gauge(self, name: str) -> Gauge:
        """The gauge of this name; ConfigError when the name is that of another kind."""
        return self._metric(name, Gauge)

    def timer(self, name: str) -> Timer:
        """The timer of this name; ConfigError when the name is that of another kind."""
        return self._metric(name, Timer)

    def values(self) -> dict[str, float]:
        """Name -> value now."""
        return {name: metric.value for name, metric in list(self._metrics.items())}

    def flush(self) -> None:
        """Tell what has changed."""
        for metric in list(self._metrics.values()):
            metric.tell()

    def _metric(self, name: str, kind: type[_M]) -> _M:
        with self._lock:
            found = self._metrics.setdefault(name, kind(name, self))
        if not isinstance(found, kind):
            raise ConfigError(f"metric {name!r} is a {found.kind} already: take another name for the {kind.kind}")
        return found
