"""MemoryBudget: how many bytes a worker holds, by owner, against one limit.

What is counted are resident buffers, reserved by whoever keeps them: `exchange` (frames that arrived), `blocks` (task output that waits), `cache`
(datasets kept by the user). Invariants: `reserve` never blocks and never fails (the engine thread calls it); when the limit is passed, the listeners
are told and the block store spills; sums are exact, and releasing more than an owner holds is an error at the place that does it.

    budget = MemoryBudget(1 << 30)
    budget.reserve("exchange", 4096)
    budget.resident_bytes, budget.over_bytes        # 4096, 0
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hpcflow.runtime.memory_limits import MemoryLimit, default_limit_bytes, node_limit
from hpcflow.runtime.resident import compact, resident_bytes

__all__ = ["MemoryBudget", "MemoryLimit", "Peak", "compact", "default_limit_bytes", "node_limit", "resident_bytes"]


class Peak:
    """The most bytes that were resident while it was open; see `MemoryBudget.watch_peak`."""

    def __init__(self, start_bytes: int) -> None:
        self.bytes = start_bytes


class MemoryBudget:
    """Counts resident bytes by owner. Thread-safe; no lock is held while a listener runs.

    Args:
        limit_bytes: resident bytes above which listeners are called.
    """

    def __init__(self, limit_bytes: int) -> None:
        if limit_bytes <= 0:
            raise ValueError(f"a memory budget needs more than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes
        self.high_water_bytes = 0
        self._resident = 0
        self._by_owner: dict[str, int] = {}
        self._lock = threading.Lock()
        self._listeners: tuple[Callable[[int], None], ...] = ()
        self._peaks: list[Peak] = []

    @property
    def resident_bytes(self) -> int:
        """Bytes held by all owners."""
        return self._resident

    @property
    def over_bytes(self) -> int:
        """Bytes above the limit, 0 when below it."""
        return max(0, self._resident - self.limit_bytes)

    @property
    def free_bytes(self) -> int:
        """Bytes below the limit, 0 when above it."""
        return max(0, self.limit_bytes - self._resident)

    def by_owner(self) -> dict[str, int]:
        """Bytes of each owner that holds any."""
        with self._lock:
            return {owner: held for owner, held in self._by_owner.items() if held}

    def reserve(self, owner: str, size_bytes: int) -> None:
        """Count `size_bytes` for `owner`; past the limit, each listener gets the bytes that are too many."""
        with self._lock:
            self._add(owner, size_bytes)
        self._tell()

    def try_reserve(self, owner: str, size_bytes: int) -> bool:
        """Count `size_bytes` only when they fit below the limit; for callers that can wait or split."""
        with self._lock:
            fits = self._resident + size_bytes <= self.limit_bytes
            if fits:
                self._add(owner, size_bytes)
        return fits

    def release(self, owner: str, size_bytes: int) -> None:
        """Give back what `reserve` counted.

        Raises:
            ValueError: the owner holds less than that.
        """
        with self._lock:
            held = self._by_owner.get(owner, 0)
            if not 0 <= size_bytes <= held:
                raise ValueError(f"{owner!r} releases {size_bytes} bytes and holds {held}")
            self._by_owner[owner] = held - size_bytes
            self._resident -= size_bytes

    def on_over(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener(over_bytes)` after every `reserve` that ends above the limit, on its thread (so: quick); returns what ends this."""
        with self._lock:
            self._listeners = (*self._listeners, listener)
        return lambda: self._forget(listener)

    @contextmanager
    def watch_peak(self) -> Iterator[Peak]:
        """`with budget.watch_peak() as peak: ...` leaves in `peak.bytes` the most that was resident meanwhile, all owners together."""
        with self._lock:
            peak = Peak(self._resident)
            self._peaks.append(peak)
        try:
            yield peak
        finally:
            with self._lock:
                self._peaks = [other for other in self._peaks if other is not peak]

    def _add(self, owner: str, size_bytes: int) -> None:
        if size_bytes < 0:
            raise ValueError(f"{owner!r} reserves {size_bytes} bytes")
        self._by_owner[owner] = self._by_owner.get(owner, 0) + size_bytes
        self._resident += size_bytes
        self.high_water_bytes = max(self.high_water_bytes, self._resident)
        for peak in self._peaks:
            peak.bytes = max(peak.bytes, self._resident)

    def _tell(self) -> None:
        over = self.over_bytes
        if over:
            for listener in self._listeners:
                listener(over)

    def _forget(self, listener: Callable[[int], None]) -> None:
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not listener)
