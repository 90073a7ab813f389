"""A bound on bytes under way, and the only place where an inserting thread waits.

Invariant: the lock is held for a few instructions only, never while waiting or sending, so the engine thread may release bytes at any time. A
frame larger than the window travels alone.
"""

from __future__ import annotations

import threading
import time


class Window:
    """Counts bytes; `acquire` waits while they exceed `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.blocked_s = 0.0
        self._bytes = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition(threading.Lock())

    def acquire(self, size_bytes: int) -> None:
        """Wait until `size_bytes` more fit. Raises the error given to `cancel`."""
        with self._changed:
            if self._error is None and self._full(size_bytes):
                started = time.monotonic()
                self._changed.wait_for(lambda: self._error is not None or not self._full(size_bytes))
                self.blocked_s += time.monotonic() - started
            if self._error is not None:
                raise self._error
            self._bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """These bytes have left; called on the engine thread."""
        with self._changed:
            self._bytes -= size_bytes
            self._changed.notify_all()

    def cancel(self, error: BaseException) -> None:
        """End all waits, now and later, with `error`."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _full(self, size_bytes: int) -> bool:
        return self._bytes > 0 and self._bytes + size_bytes > self.limit_bytes
