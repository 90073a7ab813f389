"""The event log: one record a line, whatever happens to the writer."""

import os
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import HpcflowError
from hpcflow.events import ActionFailed, EventLog, PassRun, StageStarted, TaskFinished, TaskGroupSent, UnknownEvent, read_events, records


def test_records_come_back_as_written(tmp_path):
    written = [
        StageStarted(action=1, stage="S1", name="scan", tasks=4),
        TaskGroupSent(action=1, stage="S1", worker=2, tasks=(1, 2, 3)),
        TaskFinished(action=1, stage="S1", task=2, worker=1, rows_in=10, seconds=0.25, peak_memory_bytes=1 << 40),
    ]
    with EventLog(tmp_path / "deep" / "events.jsonl") as log:
        for event in written:
            log.emit(event)
    assert list(read_events(tmp_path / "deep" / "events.jsonl")) == written


@given(st.text(), st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_float_survives_a_line(error, message, seconds):
    event = ActionFailed(action=1, seconds=seconds, error=error, message=message)
    line = records.to_json(event)
    assert "\n" not in line and records.from_json(line) == event


def test_every_kind_has_its_own_name_and_is_exported():
    import hpcflow.events as events

    assert records.kinds()["pass_run"] is PassRun
    assert {cls.__name__ for cls in records.kinds().values()} <= set(events.__all__)


def test_job_id_is_filled_in():
    seen = []
    log = EventLog(job="j7")
    log.subscribe(seen.append)
    log.emit(PassRun(action=1, name="cse", seconds=0.1))
    assert seen[0].job == "j7"


def test_file_is_readable_by_its_owner_only(tmp_path):
    with EventLog(tmp_path / "e.jsonl"):
        assert stat.S_IMODE(os.stat(tmp_path / "e.jsonl").st_mode) == 0o600


def test_torn_last_line_is_left_out_and_the_next_writer_starts_a_line(tmp_path):
    path = tmp_path / "e.jsonl"
    event = PassRun(action=1, name="cse", seconds=0.1)
    with EventLog(path) as log:
        log.emit(event)
    with open(path, "a") as file:
        file.write('{"kind": "pass_run", "na')
    assert list(read_events(path)) == [event]
    with EventLog(path) as log:
        log.emit(event)
    assert list(read_events(path)) == [event, event]


def test_whole_line_that_is_no_record_names_its_number(tmp_path):
    (tmp_path / "e.jsonl").write_text('{"kind": "pass_run"}\n')
    with pytest.raises(HpcflowError, match=r"line 1.*name"):
        list(read_events(tmp_path / "e.jsonl"))


def test_newer_kinds_and_fields_are_read(tmp_path):
    (tmp_path / "e.jsonl").write_text(
        '{"kind": "gpu_lost", "time": 1.0, "gpu": 3}\n{"kind": "pass_run", "action": 1, "name": "x", "seconds": 1, "new": 2}\n'
    )
    first, second = read_events(tmp_path / "e.jsonl")
    assert isinstance(first, UnknownEvent) and first.name == "gpu_lost" and first.time == 1.0
    assert isinstance(second, PassRun) and second.seconds == 1


def test_lines_of_many_threads_never_mix(tmp_path):
    with EventLog(tmp_path / "e.jsonl") as log:

        def work(worker):
            for task in range(200):
                log.emit(TaskFinished(action=1, stage="S" * 50, task=task, worker=worker))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
    read = [(e.worker, e.task) for e in read_events(tmp_path / "e.jsonl")]
    assert len(read) == 800
    for worker in range(4):
        assert [t for w, t in read if w == worker] == list(range(200))


def test_failing_listener_is_removed_and_the_others_go_on(capsys):
    log, seen = EventLog(), []
    log.subscribe(lambda event: 1 / 0)
    stop = log.subscribe(seen.append)
    log.emit(PassRun(action=1, name="a", seconds=0.1))
    log.emit(PassRun(action=1, name="b", seconds=0.1))
    stop()
    log.emit(PassRun(action=1, name="c", seconds=0.1))
    assert [e.name for e in seen] == ["a", "b"]
    assert capsys.readouterr().err.count("ZeroDivisionError") == 1


def test_full_disk_is_said_once_and_never_raised(capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    log = EventLog("/dev/full")
    log.emit(PassRun(action=1, name="a", seconds=0.1))
    log.emit(PassRun(action=1, name="b", seconds=0.1))
    assert capsys.readouterr().err.count("No space left") == 1


def test_unwritable_place_says_what_to_set(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HpcflowError, match="HPCFLOW_EVENT_LOG"):
        EventLog(tmp_path / "file" / "e.jsonl")
