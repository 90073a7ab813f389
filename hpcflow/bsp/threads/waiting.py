"""Threads that wait for each other: what is shared by all communicators of one in-process group.

Invariant: a wait ends when what it waits for is done or when the group is aborted, and by nothing else; it sleeps on a lock of its own (no
polling). After `abort` every call of every rank raises `CollectiveAbortedError` from the first failure.

    group = ThreadGroup(3)
    done = Completion()
    group.wait((done,))                          # one thread
    group.complete(done)                         # another
    group.abort(ValueError("rank 1 gave up"))    # all that wait, or call later, raise
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from hpcflow.errors import CollectiveAbortedError


class _Waiter:
    """One thread that sleeps until `fire`; fired at most once."""

    __slots__ = ("fired", "lock")

    def __init__(self) -> None:
        self.fired = False
        self.lock = threading.Lock()
        self.lock.acquire()

    def fire(self) -> None:  # under the group's lock
        if not self.fired:
            self.fired = True
            self.lock.release()


class Completion:
    """Something that will be done once: a collective, a message sent or received. Written under the group's lock."""

    __slots__ = ("cancelled", "done", "error", "load", "size_bytes", "source", "tag", "waiters")

    def __init__(self, load: Callable[[], Any] | None = None) -> None:
        self.done = False
        self.error: BaseException | None = None
        self.load = load  # run once by the rank that waits, after completion: gives the object of a lower-case call
        self.cancelled = False
        self.source: int | None = None  # of a received message; None: no message
        self.tag = 0
        self.size_bytes = 0
        self.waiters: list[_Waiter] = []


class ThreadGroup:
    """The ranks of one in-process world: one lock, who waits, and the first failure."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.Lock()  # held for bookkeeping alone, never while data are copied or user code runs
        self._waiting: set[_Waiter] = set()
        self._first: BaseException | None = None
        self._first_rank: int | None = None

    @property
    def failure(self) -> BaseException | None:
        """The error of the first `abort`."""
        return self._first

    def abort(self, error: BaseException, rank: int | None = None) -> None:
        """End every wait of every rank; from now on all calls raise. `rank` names the failed one in the messages. The first failure stays."""
        with self.lock:
            if self._first is None:
                self._first, self._first_rank = error, rank
            for waiter in self._waiting:
                waiter.fire()

    def check(self) -> None:
        """Raise CollectiveAbortedError when the group has been aborted."""
        if self._first is not None:
            raise self._aborted() from self._first

    def complete(self, completion: Completion, error: BaseException | None = None) -> None:
        """Mark as done and wake who waits for it."""
        with self.lock:
            self.complete_locked(completion, error)

    def complete_locked(self, completion: Completion, error: BaseException | None = None) -> None:
        completion.error = error
        completion.done = True
        for waiter in completion.waiters:
            waiter.fire()
        completion.waiters.clear()

    def wait(self, completions: Sequence[Completion]) -> None:
        """Return when at least one of them is done.

        Raises:
            CollectiveAbortedError: the group was aborted before.
        """
        with self.lock:
            if any(completion.done for completion in completions):
                return
            self.check()
            waiter = _Waiter()
            for completion in completions:
                completion.waiters.append(waiter)
            self._waiting.add(waiter)
        try:
            waiter.lock.acquire()
        finally:  # also when KeyboardInterrupt ends the wait
            with self.lock:
                self._waiting.discard(waiter)
                for completion in completions:
                    if not completion.done:
                        completion.waiters.remove(waiter)
        if not any(completion.done for completion in completions):
            self.check()

    def _aborted(self) -> CollectiveAbortedError:
        error = self._first
        who = "another rank" if self._first_rank is None else f"rank {self._first_rank}"
        return CollectiveAbortedError(f"{who} has failed, so this call cannot end: {type(error).__name__}: {error}", error)
