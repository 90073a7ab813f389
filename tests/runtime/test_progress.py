"""The progress line: a fold over events, drawn where it helps and silent where it does not."""

import io
import threading
import time

import pytest

from hpcflow.events import ActionFinished, ActionStarted, EventLog, ExchangeFinished, SpillWritten, StageStarted, TaskFinished, WorkerLost
from hpcflow.runtime import progress as progress_module
from hpcflow.runtime.progress import ActionProgress, Progress, choose_mode, short, watch_progress

EVENTS = [
    StageStarted(action=1, stage="S1", name="scan", number=1, stages=3, tasks=2),
    TaskFinished(action=1, stage="S1", task=0, worker=1, rows_in=1_000_000),
    TaskFinished(action=1, stage="S1", task=1, worker=2, rows_out=2_000_000),
    ExchangeFinished(action=1, step=4, bytes_sent=120_000_000),
    StageStarted(action=1, stage="S2", name="group_by", number=2, stages=3, tasks=32),
    *[TaskFinished(action=1, stage="S2", task=n, worker=1, rows_in=14_300) for n in range(14)],
]


def test_line_says_stage_tasks_rows_bytes_and_seconds():
    state = ActionProgress(1, "collect", started=100.0)
    for event in EVENTS:
        state = state.after(event)
    assert state.line(104.1) == "hpcflow: stage 2/3 group_by  14/32 tasks  3.2 M rows  120 MB shuffled  4.1 s"
    state = state.after(SpillWritten(owner="exchange", resident_bytes=5_000_000_000, stored_bytes=1, seconds=1.0))
    state = state.after(WorkerLost(worker=2))
    assert "5.0 GB spilled  worker 2 is lost" in state.line(104.1)


def test_line_before_the_first_stage_names_the_action():
    assert ActionProgress(1, "collect", started=100.0).line(101.0) == "hpcflow: collect  1.0 s"


def test_long_stage_names_are_cut():
    state = ActionProgress(1, started=0.0).after(StageStarted(action=1, stage="S1", name="filter > " * 20, number=1, stages=2))
    assert len(state.line(1.0)) < 60 and "…" in state.line(1.0)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 "), (950, "950 "), (999.6, "1.0 k"), (1000, "1.0 k"), (9_940, "9.9 k"), (9_960, "10 k"), (123_456_789, "123 M"), (10**16, "10000 T")],
)
def test_numbers_are_short(number, text):
    assert short(number) == text


def test_auto_is_rich_on_a_terminal_only():
    modes = [choose_mode("auto", True), choose_mode("auto", False), choose_mode("plain", True), choose_mode("off", True)]
    assert modes == ["rich", "plain", "plain", "off"]


def run_action(log, seconds, events=EVENTS):
    log.emit(ActionStarted(action=1, name="collect"))
    for event in events:
        log.emit(event)
    time.sleep(seconds)
    log.emit(ActionFinished(action=1, seconds=seconds))


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(progress_module, "FIRST_LINE_S", {"plain": 0.1, "rich": 0.05})
    monkeypatch.setattr(progress_module, "EVERY_S", {"plain": 0.1, "rich": 0.02})


def test_short_action_prints_nothing(fast):
    log, stream = EventLog(), io.StringIO()
    stop = watch_progress(log, "auto", stream)
    run_action(log, 0.0)
    time.sleep(0.2)
    stop()
    assert stream.getvalue() == ""


def test_long_action_prints_whole_lines_and_stops_at_its_end(fast):
    log, stream = EventLog(), io.StringIO()
    stop = watch_progress(log, "plain", stream)
    started = time.monotonic()
    run_action(log, 0.35)
    most = (time.monotonic() - started) / 0.1 + 1
    printed = stream.getvalue()
    time.sleep(0.25)
    assert stream.getvalue() == printed
    lines = printed.splitlines()
    assert 1 <= len(lines) <= most and all(line.startswith("hpcflow: stage 2/3 group_by  14/32 tasks") for line in lines)
    stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "hpcflow-progress"]


def test_rich_line_is_drawn_and_taken_away(fast):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    log, stream = EventLog(), Terminal()
    stop = watch_progress(log, "auto", stream)
    run_action(log, 0.3, [StageStarted(action=1, stage="S1", name="[red]scan", number=1, stages=1, tasks=2)])
    stop()
    assert "[red]scan" in stream.getvalue()


def test_closed_stderr_does_not_disturb_the_action(fast):
    log, stream = EventLog(), io.StringIO()
    stop = watch_progress(log, "plain", stream)
    stream.close()
    run_action(log, 0.2)
    stop()


def test_events_of_another_action_do_not_count():
    progress = Progress("plain", io.StringIO())
    progress(ActionStarted(action=1, name="collect"))
    progress(TaskFinished(action=2, stage="S1", task=0, worker=1, rows_in=5))
    progress(ActionFinished(action=2, seconds=1.0))
    assert progress._state is not None and progress._state.rows == 0
    progress.stop()


def test_off_listens_to_nothing():
    log = EventLog()
    watch_progress(log, "off")
    assert log._listeners == ()
