"""Futures of actions: `concurrent.futures` semantics, and `cancel` works on an action that runs.

Invariant: a future ends once: with its value, its error, or cancelled. A cancelled one is `done()` at once; its workers let go at the next boundary
of their tasks (`wait_released`), and nothing that it was to write becomes visible. `concurrent.futures.wait` and `as_completed` take these futures.

    future = dataset.submit()                # begins now, beside other actions
    future.result(timeout=60)                # a polars.DataFrame; Ctrl-C meanwhile cancels the action
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent import futures
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from hpcflow.errors import ActionCancelledError

T = TypeVar("T")

IN_FLIGHT = 64
"""Actions of one session that run at once; more wait for their turn."""


class Cancellable(Protocol):
    """A running action."""

    def cancel(self, reason: str) -> bool:
        """False: too late."""


class Future(futures.Future[T], Generic[T]):
    """The value to come of one action. Made by `Dataset.submit` and `Session.submit`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        """What was called: `collect`, `write_parquet`, ..."""
        self._guard = threading.Lock()
        self._action: Cancellable | None = None
        self._began = False
        self._refused = False  # cancel() was granted: the thread that runs the action leaves the future alone
        self._released = threading.Event()

    def cancel(self) -> bool:
        """End the action at the next boundary of its tasks. False when it has ended, or its results are being taken already."""
        with self._guard:
            if self._refused or self.done():
                return self.cancelled()
            if self._action is not None and not self._action.cancel(f"{self.name} was cancelled"):
                return False
            self._refused = True
        super().cancel()
        self.set_running_or_notify_cancel()  # tells those in wait() and as_completed()
        return True

    def running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._began and not self.done()

    def result(self, timeout: float | None = None) -> T:
        """The value. Ctrl-C (or SIGTERM) while waiting cancels the action.

        Raises:
            TimeoutError: nothing after `timeout` seconds; the action goes on.
            ActionCancelledError: it was cancelled.
            HpcflowError: what the action raised.
        """
        try:
            return super().result(timeout)
        except futures.CancelledError:
            raise (self._own_error() or ActionCancelledError(f"{self.name} was cancelled")) from None
        except (KeyboardInterrupt, SystemExit):
            self.cancel()
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the action raised, None after a good end. TimeoutError and ActionCancelledError as `result`."""
        try:
            return super().exception(timeout)
        except futures.CancelledError:
            raise ActionCancelledError(f"{self.name} was cancelled") from None

    def wait_released(self, timeout: float | None = None) -> bool:
        """Wait until every worker has let go of what the action held there; False after `timeout` seconds."""
        return self._released.wait(timeout)

    def attach(self, action: Cancellable) -> None:
        """From now on `cancel` goes to this action; one that was cancelled before is told at once."""
        with self._guard:
            self._action = action
            if self._refused:
                action.cancel(f"{self.name} was cancelled")

    @property
    def is_cancelled(self) -> bool:
        """`cancel` was granted; for those who wait before there is an action."""
        return self._refused

    def run(self, job: Callable[[Future[T]], T]) -> None:
        """Call `job(self)` and end the future with what it returns or raises."""
        self._began = True
        if self._refused:
            self._released.set()
            return
        try:
            value = job(self)
        except BaseException as error:
            self._end(partial(self.set_exception, error))
        else:
            self._end(partial(self.set_result, value))

    def _end(self, end: Callable[[], None]) -> None:
        with self._guard:
            refused, self._refused = self._refused, True
        self._released.set()
        if not refused and self.set_running_or_notify_cancel():
            end()

    def _own_error(self) -> BaseException | None:
        """The error of an action that ended cancelled from elsewhere: it is a result like any other."""
        return None if self.cancelled() else super().exception(0)


class ActionThreads:
    """Runs jobs of futures on threads: as many at once as `limit`, the others in the order in which they came."""

    def __init__(self, limit: int = IN_FLIGHT) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[Future[Any]], Any]]] = deque()
        self._futures: set[Future[Any]] = set()
        self._threads = 0

    def submit(self, name: str, job: Callable[[Future[T]], T]) -> Future[T]:
        """A future of `job(future)`."""
        future: Future[T] = Future(name)
        with self._changed:
            self._futures.add(future)
            self._waiting.append((future, job))
            start = self._threads < self._limit
            self._threads += start
        if start:
            threading.Thread(target=self._run, name="hpcflow-action", daemon=True).start()
        return future

    def cancel_all(self) -> None:
        """Cancel every future that has not ended."""
        with self._changed:
            unfinished = list(self._futures)
        for future in unfinished:
            future.cancel()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all futures have ended and their workers have let go; False after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._futures, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._threads -= 1
                    return
                future, job = self._waiting.popleft()
            future.run(job)
            with self._changed:
                self._futures.discard(future)
                self._changed.notify_all()
