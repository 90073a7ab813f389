"""How the ranks of a program keep in touch besides its own communication: events to rank 0, a common end, and noticing that nothing moves.

    rank r  --EventTold, RankDone, RankQuiet-->  rank 0  --AllDone-->  all
                                                         --Show-->     all  --Shown-->  rank 0, which writes one report of where every rank stands

Invariant: one thread a rank, asleep but for a look a second; all messages go through the engine, so the program's communicator is never touched.
`finish` returns on every rank only after all ranks have called it. A standstill (no rank gets on for `timeout_s`) is reported once and then ended by
`end`; when some ranks wait for that long while others get on, one notice says so and the program goes on.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hpcflow.comm.engine import Engine
from hpcflow.comm.watchdog import write_report
from hpcflow.errors import StepTimeoutError, WorkerLostError
from hpcflow.events.records import Event
from hpcflow.runtime.activity import Activity
from hpcflow.runtime.messages import decode, encode
from hpcflow.runtime.standing import current_frame, stack_text, standing_of

PROGRAM = 5
"""Tag of these messages."""
_SHOW_WAIT_S = 2.0
"""For the ranks to say where they stand."""


@dataclass(frozen=True)
class EventTold:
    """To rank 0: for the event log."""

    run: int
    event: Event


@dataclass(frozen=True)
class RankDone:
    """To rank 0: `execute` has returned here."""

    run: int
    rank: int


@dataclass(frozen=True)
class RankQuiet:
    """To rank 0: this rank has not got on for the time-out, or gets on again."""

    run: int
    rank: int
    quiet: bool


@dataclass(frozen=True)
class RankFailed:
    """From a rank that ends after a failure, to all others: launchers do not all end the other ranks."""

    run: int
    rank: int
    status: int


@dataclass(frozen=True)
class AllDone:
    """From rank 0: `execute` has returned everywhere."""

    run: int


@dataclass(frozen=True)
class Show:
    """From rank 0: say where you stand."""

    run: int


@dataclass(frozen=True)
class Shown:
    """To rank 0. stands: in one line; stack: of the program's thread; moves: it has got on within the time-out, or has finished."""

    run: int
    rank: int
    host: str
    stands: str
    stack: str
    moves: bool = False


@dataclass(frozen=True)
class _Wake:
    """To oneself: look at once whether there is something to do."""


class ProgramControl:
    """One rank's part.

    Args:
        engine: of this rank; all ranks of the engine run the program.
        run: number of the run, the same on all ranks.
        emit: takes event records; on rank 0 alone.
        activity: of the thread that runs the program.
        timeout_s: 0 never looks.
        end: called on rank 0's thread with the report of a standstill, after it has been written; ends the program.
        leave: called on this rank's thread with the exit status of another rank that has failed.
    """

    def __init__(
        self,
        engine: Engine,
        run: int,
        emit: Callable[[Event], None],
        activity: Activity,
        timeout_s: float,
        end: Callable[[StepTimeoutError], None],
        leave: Callable[[int], None],
    ) -> None:
        self.rank, self.size = engine.rank, engine.size
        self._engine = engine
        self._run_number = run
        self._emit = emit
        self._activity = activity
        self._timeout_s = timeout_s
        self._end = end
        self._leave = leave
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: set[int] = set()
        self._quiet: set[int] = set()
        self._noticed: frozenset[int] = frozenset()
        self._shown: dict[int, Shown] = {}
        self._everybody_done = threading.Event()
        self._aborted: BaseException | None = None
        self._stopped = False
        self._moved_at = time.monotonic()
        self._is_quiet = False
        self._finished_here = False
        engine.subscribe(PROGRAM, lambda source, buffer: self._inbox.put(decode(buffer)))
        engine.when_failed(lambda error: self.abort(WorkerLostError(f"rank {self.rank} has lost the other ranks: {error}")))
        self._thread = threading.Thread(target=self._serve, name="hpcflow-program", daemon=True)
        self._thread.start()

    # -- the program's thread ----------------------------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """To the event log, which rank 0 writes. Any thread."""
        self._tell(EventTold(self._run_number, event))

    def tell_failure(self, event: Event, status: int, wait_s: float = 0.2) -> None:
        """`emit`, and tell all ranks that this process ends with `status`; returns when that is on its way, or after `wait_s`."""
        last = self.size - 1 if self.rank < self.size - 1 else self.size - 2
        sent = threading.Event()
        with contextlib.suppress(WorkerLostError):
            self.emit(event)
            for rank in (rank for rank in range(self.size) if rank != self.rank):
                payload = encode(RankFailed(self._run_number, self.rank, status))
                self._engine.send(rank, PROGRAM, payload, sent.set if rank == last else None)
            if self.size > 1:
                sent.wait(wait_s)
            if self.rank == 0:
                time.sleep(wait_s / 4)  # for this rank's own thread to write the record

    def finish(self) -> None:
        """`execute` has returned here: wait until it has everywhere.

        Raises:
            CollectiveAbortedError, WorkerLostError: another rank failed meanwhile.
        """
        self._finished_here = True
        self._tell(RankDone(self._run_number, self.rank))
        self._everybody_done.wait()
        if self._aborted is not None:
            raise self._aborted

    def abort(self, error: BaseException) -> None:
        """Another rank of this process has failed: `finish` raises."""
        if not self._everybody_done.is_set():
            self._aborted = error
            self._everybody_done.set()

    def close(self) -> None:
        """End the thread, after what it has been told."""
        self._stopped = True
        self._inbox.put(_Wake())
        self._thread.join(5.0)

    # -- its own thread ----------------------------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        interval = min(1.0, self._timeout_s / 5) if self._timeout_s else None
        look_at = time.monotonic()
        while True:
            wait = None if interval is None else max(0.0, look_at - time.monotonic())
            try:
                self._handle(self._inbox.get(timeout=wait))
            except queue.Empty:
                pass
            except WorkerLostError:
                return  # the engine has failed, and says so itself
            if self._stopped and self._inbox.empty():
                return
            if interval is not None and time.monotonic() >= look_at:
                look_at = time.monotonic() + interval
                self._look(self._activity.look())

    def _look(self, moved: bool) -> None:
        """This rank has got on or not. Tells rank 0 when its state changes."""
        now = time.monotonic()
        if moved:
            self._moved_at = now
        quiet = now - self._moved_at >= self._timeout_s
        if quiet != self._is_quiet and not self._finished_here:
            self._is_quiet = quiet
            self._tell(RankQuiet(self._run_number, self.rank, quiet))

    def _handle(self, message: Any) -> None:
        if isinstance(message, _Wake) or message.run != self._run_number:
            return
        if isinstance(message, AllDone):
            self._everybody_done.set()
        elif isinstance(message, RankFailed):
            self._leave(message.status)
        elif isinstance(message, Show):
            self._tell(self._show())
        elif isinstance(message, EventTold):
            self._emit(message.event)
        elif isinstance(message, RankDone):
            self._done.add(message.rank)
            if len(self._done) == self.size:
                self._tell_all(AllDone(self._run_number))
            self._judge()
        elif isinstance(message, RankQuiet):
            (self._quiet.add if message.quiet else self._quiet.discard)(message.rank)
            self._judge()
        elif isinstance(message, Shown):
            self._shown[message.rank] = message

    def _judge(self) -> None:
        """On rank 0: does nobody move any more?"""
        everybody = set(range(self.size))
        waiting = self._quiet - self._done
        if not waiting or (everybody - self._quiet - self._done and waiting <= self._noticed):
            return
        self._ask()
        self._quiet -= {rank for rank, answer in self._shown.items() if answer.moves}  # what ranks have told before is a look old
        waiting = self._quiet - self._done
        moving = everybody - self._quiet - self._done
        if not waiting or (moving and waiting <= self._noticed):
            return
        if moving:
            self._noticed |= waiting
            who = f"ranks {_ranks(waiting)} have not moved for {self._timeout_s:g} s, and ranks {_ranks(moving)} still work"
            write_report(report_text(f"{who}; the program goes on", self._shown, self.size, stacks=False))
            return
        text = f"no rank of the program has moved for {self._timeout_s:g} s (step_timeout_s)"
        write_report(report_text(text, self._shown, self.size, stacks=True))
        self._end(StepTimeoutError(f"{text}; where each rank stands is on stderr"))

    def _ask(self) -> None:
        """Have every rank say where it stands now; answers are in `_shown`."""
        self._shown = {}
        self._tell_all(Show(self._run_number))
        deadline = time.monotonic() + _SHOW_WAIT_S
        later = []
        while len(self._shown) < self.size and (left := deadline - time.monotonic()) > 0:
            try:
                message = self._inbox.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(message, Show | Shown):
                self._handle(message)
            else:
                later.append(message)
        for message in later:
            self._inbox.put(message)

    def _show(self) -> Shown:
        self._look(self._activity.stirred())
        frame = current_frame(self._activity.thread)
        stands = "has finished" if self._finished_here else str(standing_of(frame))
        stack = "" if self._finished_here else stack_text(frame)
        return Shown(self._run_number, self.rank, socket.gethostname(), stands, stack, self._finished_here or not self._is_quiet)

    def _tell(self, message: Any) -> None:
        self._engine.send(0, PROGRAM, encode(message))

    def _tell_all(self, message: Any) -> None:
        payload = encode(message)
        for rank in range(self.size):
            self._engine.send(rank, PROGRAM, payload)


def report_text(headline: str, shown: Mapping[int, Shown], size: int, stacks: bool) -> str:
    """One line for each place where ranks stand, then each different stack once.

    >>> print(report_text("nothing moves", {rank: Shown(1, rank, "h", "a.recv() at j.py:1 in f", "s") for rank in (0, 1)}, 3, stacks=False))
    hpcflow: nothing moves
      ranks 0-1: a.recv() at j.py:1 in f
      ranks 2: gave no answer
    """
    lines = [f"hpcflow: {headline}"]
    places: dict[str, list[int]] = {}
    texts: dict[str, list[int]] = {}
    for rank in range(size):
        answer = shown.get(rank)
        places.setdefault("gave no answer" if answer is None else answer.stands, []).append(rank)
        if answer is not None and answer.stack:
            texts.setdefault(answer.stack, []).append(rank)
    lines += [f"  ranks {_ranks(ranks)}: {stands}" for stands, ranks in places.items()]
    if stacks:
        for text, ranks in texts.items():
            hosts = sorted({shown[rank].host for rank in ranks})
            lines += [f"stack of ranks {_ranks(ranks)} on {', '.join(hosts[:3])}{', ...' if len(hosts) > 3 else ''}:", text.rstrip("\n")]
    return "\n".join(lines)


def _ranks(ranks: Iterable[int]) -> str:
    """[0, 1, 2, 5] as 0-2, 5."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
