"""The one thread of a rank that talks to other ranks.

Invariant: it alone calls the `Comm` (it opens and closes it too); it runs no user code and takes no lock that a task may hold, so it always
moves. `send` never blocks. While bytes are under way it polls without sleeping; else it sleeps 50 us rising to 1 ms while an action runs, and 10
ms after a second without one; a `send` wakes it at once.

    engine = Engine(open_mpi, allocate=pool.acquire)
    engine.start()
    engine.subscribe(CONTROL, lambda source, buffer: inbox.put((source, bytes(buffer))))
    engine.send(1, CONTROL, b"hello")
    engine.stop(timeout_s=30)                    # every rank
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hpcflow.comm.base import Buffer, Comm
from hpcflow.comm.lanes import Arrived, Outgoing, ReceiveLanes, SendLanes
from hpcflow.comm.watchdog import EXIT_FAILURE, all_stacks, where, write_report
from hpcflow.errors import StepTimeoutError, WorkerLostError

Handler = Callable[[int, Buffer], None]

FAREWELL: Final = 0
"""The engine's own tag: this rank sends no more. After one from every other rank the communicator can be closed without losing a message."""
_RECEIVES = 64  # receives in progress at a time
_SHORTEST_NAP_S, _LONGEST_NAP_S = 10e-6, 60e-6
_SLEEP_GROWTH = 1.05  # an answer waits for a twentieth of the time that the question took, at most 1 ms
_SHORTEST_SLEEP_S, _ACTIVE_SLEEP_S, _IDLE_SLEEP_S, _IDLE_AFTER_S = 50e-6, 1e-3, 10e-3, 1.0


@dataclass(slots=True)
class Traffic:
    """What has passed so far; written by the engine thread."""

    sent_messages: int = 0
    sent_bytes: int = 0
    received_messages: int = 0
    received_bytes: int = 0


class Engine:
    """Sends and receives for one rank.

    Args:
        open_comm: called once on the engine thread.
        allocate: size in bytes -> writable buffer of that length, for what is received; called on the engine thread.
        on_error: called on the engine thread with what a handler, a callback or the `Comm` raised. Default: write a report and abort the rank.
    """

    def __init__(
        self, open_comm: Callable[[], Comm], allocate: Callable[[int], Buffer] = bytearray, on_error: Callable[[BaseException], None] | None = None
    ) -> None:
        self.traffic = Traffic()
        self.error: BaseException | None = None
        self._open_comm = open_comm
        self._allocate = allocate
        self._on_error = on_error
        self._requests: deque[Outgoing | Callable[[], None]] = deque()  # from any thread; append and popleft are atomic
        self._handlers: dict[int, Handler] = {}
        self._unclaimed: dict[int, list[Arrived]] = {}  # arrived before a subscription
        self._failure_callbacks: list[Callable[[BaseException], None]] = []
        self._bell = threading.Lock()  # released to wake the engine thread
        self._bell.acquire()
        self._active = False
        self._stopping = False
        self._farewells = 0
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hpcflow-engine", daemon=True)

    # -- any thread ---------------------------------------------------------------------------------------------------------------------------------

    def start(self, timeout_s: float = 120.0) -> None:
        """Start the thread and wait until the `Comm` is open. Raises what opening it raised."""
        self._thread.start()
        if not self._opened.wait(timeout_s):
            raise StepTimeoutError(f"the communicator did not open within {timeout_s:.0f} s: does every rank of the launch line start a Session?")
        if self.error is not None:
            raise self.error
        self.rank, self.size = self.comm.rank, self.comm.size
        atexit.register(self._at_exit)

    def send(self, destination: int, tag: int, payload: Buffer, on_sent: Callable[[], None] | None = None) -> None:
        """Queue a message; never blocks. `payload` must not change until `on_sent()` has run (on the engine thread; quick).

        Raises:
            WorkerLostError: the engine has stopped or failed.
        """
        if self.error is not None or self._stopping:
            raise WorkerLostError(f"rank {self.rank} sends no more: its engine has {'stopped' if self.error is None else 'failed'}") from self.error
        if not 0 <= destination < self.size:
            raise ValueError(f"destination {destination} of {self.size} ranks: give a rank in 0..{self.size - 1}")
        self._requests.append(Outgoing(destination, tag, payload, memoryview(payload).nbytes, on_sent))
        self._wake()

    def subscribe(self, tag: int, handler: Handler) -> None:
        """Let `handler(source, buffer)` take the messages of `tag`, earlier ones first. It runs on the engine thread: quick, never blocks."""
        if tag == FAREWELL:
            raise ValueError(f"tag {FAREWELL} is the engine's own: take another")

        def register() -> None:
            self._handlers[tag] = handler
            for message in self._unclaimed.pop(tag, []):
                self._deliver(message)

        self.call(register)

    def call(self, function: Callable[[], None]) -> None:
        """Run `function()` soon on the engine thread (quick, never blocks)."""
        self._requests.append(function)
        self._wake()

    def when_failed(self, callback: Callable[[BaseException], None]) -> Callable[[], None]:
        """Run `callback(error)` on the engine thread when the `Comm` has failed and nothing moves any more, so that waits can end.

        Returns what takes the callback back.
        """
        self._failure_callbacks.append(callback)
        if self.error is not None and not self._thread.is_alive():
            callback(self.error)

        def forget() -> None:
            with contextlib.suppress(ValueError):  # twice
                self._failure_callbacks.remove(callback)

        return forget

    def set_active(self, active: bool) -> None:
        """Say whether an action is running: while one is, sleeps stay below 1 ms."""
        self._active = active
        self._wake()

    def cpu_seconds(self) -> float:
        """CPU time of the engine thread so far; 0 when it has ended and where the system does not say."""
        thread = self._thread
        if not thread.is_alive() or thread.ident is None or not hasattr(time, "pthread_getcpuclockid"):
            return 0.0
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))

    def stop(self, timeout_s: float = 30.0) -> None:
        """Send what is queued, wait until every rank has stopped, and close the `Comm`; to be called on every rank.

        After `timeout_s` some rank is gone or stuck: this writes a report and aborts (over MPI the process ends with a status other than 0, since
        MPI_Finalize would wait forever).

        Raises:
            StepTimeoutError: in-process ranks, where a thread cannot be ended.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("stop() was called on the engine thread: call it from the thread that started the engine")
        atexit.unregister(self._at_exit)
        self._stopping = True
        self._wake()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            report = (
                f"hpcflow: rank {self.rank} on {where()} could not close within {timeout_s:.0f} s: "
                f"{self.size - 1 - self._farewells} of {self.size - 1} other ranks have not stopped; see their output"
            )
            write_report(f"{report}; stacks:\n{all_stacks()}")
            self.comm.abort(EXIT_FAILURE)
            self._thread.join(1.0)
            raise StepTimeoutError(report)

    # -- engine thread ------------------------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.comm = self._open_comm()
        except BaseException as error:
            self.error = error
            self._opened.set()
            return
        self._opened.set()
        try:
            self._loop()
            self.comm.close()
        except BaseException as error:
            first = self.error is None  # the Comm fails again after a handler's failure has aborted it
            self.error = self.error or error
            if first:
                self._report(error)
            for callback in tuple(self._failure_callbacks):
                with contextlib.suppress(Exception):
                    callback(self.error)

    def _loop(self) -> None:
        comm = self.comm
        sends, receives = SendLanes(comm), ReceiveLanes(self._allocate)
        _precise_sleeps()
        notified = comm.set_waker(self._wake)
        farewell_sent = False
        sleep_s, nap_s = _SHORTEST_SLEEP_S, _SHORTEST_NAP_S
        last_activity: float | None = None
        while True:
            moved = self._take_requests(sends)
            for message in sends.step():
                moved = True
                self._sent(message)
            while receives.count < _RECEIVES and (incoming := comm.poll()) is not None:
                moved = True
                receives.start(incoming)
            for arrived in receives.step():
                moved = True
                self._deliver(arrived)
            if moved:
                sleep_s, nap_s, last_activity = _SHORTEST_SLEEP_S, _SHORTEST_NAP_S, None  # the clock is read only when there is time
                continue
            if self._stopping and not sends.busy and not self._requests:
                if not farewell_sent:
                    farewell_sent = True
                    for peer in range(comm.size):
                        if peer != comm.rank:
                            sends.queue(Outgoing(peer, FAREWELL, b"", 0, None))
                    continue
                if self._farewells == comm.size - 1 and receives.count == 0:
                    return
            if notified:
                self._bell.acquire(timeout=0.5)
            elif sends.busy or receives.count:
                nap_s = min(nap_s * 1.5, _LONGEST_NAP_S)
                self._bell.acquire(timeout=nap_s)
            else:
                now = time.monotonic()
                last_activity = now if last_activity is None else last_activity
                idle = not self._active and now - last_activity > _IDLE_AFTER_S
                if self._bell.acquire(timeout=_IDLE_SLEEP_S if idle else sleep_s):
                    sleep_s = _SHORTEST_SLEEP_S
                else:
                    sleep_s = min(sleep_s * _SLEEP_GROWTH, _ACTIVE_SLEEP_S)

    def _take_requests(self, sends: SendLanes) -> bool:
        """Move what other threads have asked for into the lanes; True when there was any."""
        requests = self._requests
        taken = False
        while requests:
            taken = True
            request = requests.popleft()
            if not isinstance(request, Outgoing):
                self._guard(request)
            elif request.destination == self.comm.rank:
                self._sent(request)
                self._deliver(Arrived(request.destination, request.tag, request.payload))
            else:
                sends.queue(request)
        return taken

    def _sent(self, message: Outgoing) -> None:
        self.traffic.sent_messages += 1
        self.traffic.sent_bytes += message.size_bytes
        if message.on_sent is not None:
            self._guard(message.on_sent)

    def _deliver(self, message: Arrived) -> None:
        if message.tag == FAREWELL:
            self._farewells += 1
            return
        handler = self._handlers.get(message.tag)
        if handler is None:
            self._unclaimed.setdefault(message.tag, []).append(message)
            return
        self.traffic.received_messages += 1
        self.traffic.received_bytes += memoryview(message.buffer).nbytes
        self._guard(lambda: handler(message.source, message.buffer))

    def _guard(self, function: Callable[[], None]) -> None:
        """Run a handler or callback; its failure is reported, and the engine goes on moving bytes so that the session can be closed in order."""
        try:
            function()
        except Exception as error:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        if self._on_error is not None:
            try:
                self._on_error(error)
                return
            except Exception as second:
                error = second
        self.error = error
        write_report(f"hpcflow: the engine of rank {self.comm.rank} on {where()} failed\n{''.join(traceback.format_exception(error))}")
        self.comm.abort(EXIT_FAILURE)

    def _wake(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # rung already

    def _at_exit(self) -> None:
        """The program ended without `stop`: do it now, while daemon threads still run, and wait only briefly for ranks that may be gone."""
        if self._thread.is_alive():
            self.stop(timeout_s=3.0)


def _precise_sleeps() -> None:
    """Let this thread's sleeps end on time: Linux adds 50 us to each otherwise."""
    if sys.platform == "linux":
        set_timer_slack = 29
        ctypes.CDLL(None).prctl(set_timer_slack, 1, 0, 0, 0)
