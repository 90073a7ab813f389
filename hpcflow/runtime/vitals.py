"""Is this process getting on? What a worker tells the master while actions run, and when a task counts as stuck.

A task may take hours and still get on; one that waits for something that never comes does not. What tells them apart, whatever the user's code
does: the process spends CPU time (outside of the engine's thread, which polls), reads or writes files, or moves rows. A worker without any of these
for `step_timeout_s` seconds while a task runs dumps all stacks and reports the task; a user function that really waits so long (for a service, say)
needs a larger limit.

Invariant: one daemon thread a worker, asleep but for a few instructions every `interval_s`; it takes no lock that a task may hold.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpcflow.comm.engine import Engine
from hpcflow.comm.watchdog import Progress, Watchdog
from hpcflow.errors import WorkerLostError

_LEAST_CPU_SHARE = 0.02
_LEAST_BYTES = 64 << 10


def heartbeat_interval_s(step_timeout_s: float) -> float:
    """Seconds between two looks at a worker."""
    return min(2.0, step_timeout_s / 5) if step_timeout_s else 2.0


class ActivityMeter:
    """Counts the looks at which this process had got on since the look before."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last = self._figures()
        self.count = 0

    def look(self) -> int:
        """The count, after one more look."""
        now = self._figures()
        seconds, cpu, moved = (new - old for new, old in zip(now, self._last, strict=True))
        if cpu > _LEAST_CPU_SHARE * seconds or moved > _LEAST_BYTES:
            self.count += 1
        self._last = now
        return self.count

    def _figures(self) -> tuple[float, float, float]:
        """(seconds, CPU seconds without the engine's, bytes read, written, sent and received)"""
        traffic = self._engine.traffic
        return time.monotonic(), time.process_time() - self._engine.cpu_seconds(), _file_bytes() + traffic.sent_bytes + traffic.received_bytes


def _file_bytes() -> int:
    """Bytes that this process has read and written by system calls; 0 where the system does not say."""
    try:
        return sum(int(line.split()[1]) for line in Path("/proc/self/io").read_text().splitlines()[:2])
    except (OSError, ValueError, IndexError):
        return 0


class Vitals:
    """The thread; `tell(activity)` is called at each look while `busy()`."""

    def __init__(
        self, engine: Engine, step_timeout_s: float, busy: Callable[[], bool], tell: Callable[[int], None], stalled: Callable[[str, str], None]
    ) -> None:
        self._meter = ActivityMeter(engine)
        self._interval_s = heartbeat_interval_s(step_timeout_s)
        self._busy = busy
        self._tell = tell
        self._watchdog = Watchdog(step_timeout_s, stalled) if step_timeout_s else None
        self._running: list[Progress] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hpcflow-vitals", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def task(self, name: str) -> Iterator[None]:
        """A task runs for the length of the block; `stalled(name, stacks)` is called when the process stops getting on meanwhile."""
        if self._watchdog is None:
            yield
            return
        with self._watchdog.watch(name) as progress:
            self._running.append(progress)
            try:
                yield
            finally:
                self._running.remove(progress)

    def stop(self) -> None:
        """End the threads."""
        self._stopped.set()
        if self._watchdog is not None:
            self._watchdog.stop()

    def _run(self) -> None:
        before = self._meter.look()
        while not self._stopped.wait(self._interval_s):
            if not self._busy():
                continue
            count = self._meter.look()
            if count != before:
                before = count
                for progress in list(self._running):
                    progress.advance()
            try:
                self._tell(count)
            except WorkerLostError:
                return  # the engine has stopped or failed, and says so itself
