"""Progress on stderr: one line that says where an action stands, from its events alone.

    hpcflow: stage 2/3 group_by  14/32 tasks  3.2 M rows  120 MB shuffled  4.1 s

On a terminal the line is redrawn in place (rich, imported when the first line is due); elsewhere a plain line comes every few seconds, and
nothing for actions shorter than a second. Invariants: what is shown is `ActionProgress.after(event)`, a pure fold over events; a listener only
stores the new state, drawing happens on a thread of its own; stdout is never touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from hpcflow.events import (
    ActionFailed,
    ActionFinished,
    ActionStarted,
    Event,
    EventLog,
    ExchangeFinished,
    SpillWritten,
    StageStarted,
    TaskFinished,
    WorkerLost,
)

FIRST_LINE_S = {"plain": 1.0, "rich": 0.3}
EVERY_S = {"plain": 3.0, "rich": 0.1}
NAME_LENGTH = 22  # of a stage: it is a chain of operators


@dataclass(frozen=True)
class ActionProgress:
    """Where one action stands."""

    action: int
    name: str = ""
    started: float = 0.0
    """Unix seconds."""
    stages: int = 0
    stage: str = ""
    """Id of the stage shown: the one started last."""
    stage_name: str = ""
    stage_number: int = 0
    tasks: int = 0
    """Of the stage shown."""
    tasks_done: int = 0
    rows: int = 0
    """Rows that tasks took in, over all stages; those they gave out where no input is counted."""
    shuffled_bytes: int = 0
    spilled_bytes: int = 0
    notice: str = ""

    def after(self, event: Event) -> ActionProgress:
        """The state after one more event."""
        change: dict[str, Any] = {}
        match event:
            case StageStarted():
                change = {"stage": event.stage, "stage_name": event.name, "stage_number": event.number, "tasks": event.tasks, "tasks_done": 0}
                change["stages"] = max(self.stages, event.stages)
            case TaskFinished():
                change = {"rows": self.rows + (event.rows_in or event.rows_out), "tasks_done": self.tasks_done + (event.stage == self.stage)}
            case ExchangeFinished():
                change = {"shuffled_bytes": self.shuffled_bytes + event.bytes_sent}
            case SpillWritten():
                change = {"spilled_bytes": self.spilled_bytes + event.resident_bytes}
            case WorkerLost():
                change = {"notice": f"worker {event.worker} is lost"}
        return dataclasses.replace(self, **change) if change else self

    def line(self, now: float) -> str:
        """The text of the progress line."""
        parts = [self.stage_text() if self.stage else self.name or "waiting"]
        parts += [f"{self.tasks_done}/{self.tasks} tasks"] if self.tasks else []
        parts += [f"{short(self.rows).rstrip()} rows"] if self.rows else []
        parts += [f"{short(self.shuffled_bytes)}B shuffled"] if self.shuffled_bytes else []
        parts += [f"{short(self.spilled_bytes)}B spilled"] if self.spilled_bytes else []
        parts += [self.notice] if self.notice else []
        return "hpcflow: " + "  ".join([*parts, f"{max(0.0, now - self.started):.1f} s"])

    def stage_text(self) -> str:
        """`stage 2/3 group_by`."""
        count = f"{self.stage_number}/{self.stages}" if self.stages else str(self.stage_number)
        name = self.stage_name if len(self.stage_name) <= NAME_LENGTH else self.stage_name[: NAME_LENGTH - 1] + "…"
        return " ".join(["stage", count, *([name] if name else [])])


def short(number: float) -> str:
    """A count in at most three digits, with its prefix: `950 `, `3.2 M`, `120 M`; a unit may follow at once."""
    prefixes = ("", "k", "M", "G", "T")
    power = 0
    while number >= 999.5 and power < len(prefixes) - 1:
        number, power = number / 1000, power + 1
    return (f"{number:.1f} " if power and number < 9.95 else f"{number:.0f} ") + prefixes[power]


class Drawing(Protocol):
    """Where lines go."""

    def draw(self, line: str) -> None:
        """Show the line, in place of the one before or below it."""

    def end(self) -> None:
        """The action is over."""


class PlainLines:
    """One line below the other."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def draw(self, line: str) -> None:
        """Write the line in one call."""
        self._stream.write(line + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Nothing to take away."""


class RichLine:
    """A line redrawn in place, cut at the terminal's width, and taken away at the end."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console  # 60 ms: only for actions that take long enough to be watched
        from rich.live import Live

        self._live = Live(console=Console(file=stream), transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live.start()

    def draw(self, line: str) -> None:
        """Redraw; markup in stage names is text."""
        from rich.text import Text

        self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)

    def end(self) -> None:
        """Clear the line."""
        self._live.stop()


class Progress:
    """Listens to events and draws the running action. Thread-safe; use `watch_progress`.

    Args:
        mode: `plain` or `rich`.
        stream: where to draw.
        make_drawing: what draws; by default the mode's.
    """

    def __init__(self, mode: str, stream: TextIO, make_drawing: Callable[[TextIO], Drawing] | None = None) -> None:
        self._mode = mode
        self._stream = stream
        self._make_drawing = make_drawing or (RichLine if mode == "rich" else PlainLines)
        self._lock = threading.Lock()
        self._state: ActionProgress | None = None
        self._due = 0.0
        self._drawing: Drawing | None = None
        self._drawing_lock = threading.Lock()
        """Held while a line is drawn; never with `_lock`."""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """The listener."""
        if isinstance(event, ActionStarted):
            self._begin(event)
        elif isinstance(event, ActionFinished | ActionFailed):
            if self._state is not None and event.action == self._state.action:
                self.stop()
        else:
            with self._lock:
                if self._state is not None and getattr(event, "action", self._state.action) == self._state.action:
                    self._state = self._state.after(event)

    def stop(self) -> None:
        """End the drawing of the running action."""
        with self._lock:
            self._state = None
        if self._drawing is not None and self._drawing_lock.acquire(timeout=2):
            self._end_drawing()
            self._drawing_lock.release()

    def close(self) -> None:
        """End the thread."""
        self.stop()
        self._closed.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2)

    def _begin(self, event: ActionStarted) -> None:
        self.stop()
        with self._lock:
            self._state = ActionProgress(event.action, event.name, event.time, event.stages)
            self._due = time.monotonic() + FIRST_LINE_S[self._mode]
            if self._thread is None:  # one for all actions: starting a thread takes longer than a small action
                self._thread = threading.Thread(target=self._run, name="hpcflow-progress", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        wait_s = FIRST_LINE_S[self._mode]
        while not self._closed.wait(wait_s):
            with self._lock:
                state, early_s = self._state, self._due - time.monotonic()
            if state is None or early_s > 0:
                wait_s = FIRST_LINE_S[self._mode] if state is None else early_s
                continue
            try:
                with self._drawing_lock:
                    self._draw(state)
            except (OSError, ValueError):
                return  # stderr is closed: the job goes on without a progress line
            wait_s = EVERY_S[self._mode]

    def _draw(self, state: ActionProgress) -> None:
        self._drawing = self._drawing or self._make_drawing(self._stream)
        self._drawing.draw(state.line(time.time()))
        if self._state is None:  # the action ended meanwhile
            self._end_drawing()

    def _end_drawing(self) -> None:
        drawing, self._drawing = self._drawing, None
        if drawing is not None:
            with contextlib.suppress(OSError, ValueError):
                drawing.end()


def choose_mode(option: str, is_terminal: bool) -> str:
    """`auto` is rich on a terminal and plain elsewhere; the other options stand for themselves."""
    return ("rich" if is_terminal else "plain") if option == "auto" else option


def watch_progress(events: EventLog, option: str = "auto", stream: TextIO | None = None) -> Callable[[], None]:
    """Draw the actions that `events` tells of, until the returned function is called."""
    stream = sys.stderr if stream is None else stream
    mode = choose_mode(option, stream is not None and stream.isatty())
    if mode == "off" or stream is None:
        return lambda: None
    progress = Progress(mode, stream)
    unsubscribe = events.subscribe(progress)

    def stop() -> None:
        unsubscribe()
        progress.close()

    return stop
