"""What fails for a reason that may pass is tried again, and no row counts twice (in-process workers; tests/mpi/test_retries.py has ranks)."""

from __future__ import annotations

import errno
import os
import time

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.errors import SinkError, SourceError, TaskError
from hpcflow.events import read_events
from hpcflow.events.records import TaskFailed, TaskFinished
from hpcflow.ir.operators.file_sink import FileSink
from hpcflow.ir.operators.read_parquet import ReadParquet
from hpcflow.runtime import retries
from hpcflow.runtime.retries import is_passing
from hpcflow.testing.retries import check_retries, failing_first


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("hpcflow.runtime.task_evaluation.pause_s", lambda attempt: 0.01)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError("Input/output error (os error 5): a.parquet"), True),
        (ConnectionResetError("gone"), True),
        (TimeoutError("too slow"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (FileNotFoundError("No such file or directory (os error 2)"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OSError("something else"), False),
        (ValueError("(os error 5)"), False),
    ],
)
def test_what_may_pass(error, passes):
    assert is_passing(error) is passes
    wrapped = SourceError("cannot read a.parquet")
    wrapped.__cause__ = error
    assert is_passing(wrapped) is passes


def test_an_error_that_is_its_own_cause_is_looked_at_once():
    error = ValueError("x")
    error.__cause__ = error
    assert not is_passing(error)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.thorough), pytest.param(2, marks=pytest.mark.thorough), 3])
def test_a_deterministic_function_is_tried_again_and_rows_and_sums_count_once(tmp_path, workers):
    with hf.Session(workers=workers, progress="off", event_log=str(tmp_path / "log")) as session:
        check_retries(session, tmp_path)
    events = list(read_events(tmp_path / "log"))
    failed = [event for event in events if isinstance(event, TaskFailed)]
    assert [(event.attempt, event.error) for event in failed] == [(0, "OSError")] and "function fails first" in failed[0].message
    finished = {
        event.attempt for event in events if isinstance(event, TaskFinished) and (event.stage, event.task) == (failed[0].stage, failed[0].task)
    }
    assert 1 in finished


def test_a_function_that_nobody_calls_deterministic_is_called_once(tmp_path):
    with hf.Session(workers=1, progress="off") as session:
        with pytest.raises(TaskError, match="function fails first"):
            session.range(100).map_batches(failing_first(tmp_path)).collect()
        with pytest.raises(hf.HpcflowError, match="function fails first"):
            session.range(100).select(pl.col("value").map_elements(failing_first(tmp_path, "other"), return_dtype=pl.Int64)).collect()
    assert len(list(tmp_path.glob("call-*"))) == 1  # both would have succeeded in a second attempt


def test_the_last_attempt_is_the_error(tmp_path):
    with hf.Session(workers=1, progress="off", task_attempts=4) as session:
        with pytest.raises(TaskError, match="function fails first") as caught:
            session.range(100).map_batches(failing_first(tmp_path, times=9), deterministic=True).collect()
        assert len(list(tmp_path.iterdir())) == 4
        notes = "".join([*getattr(caught.value, "__notes__", ()), *getattr(caught.value.__cause__, "__notes__", ())])
        assert "attempt 4" in notes
        assert session.range(10).count() == 10


@pytest.mark.parametrize(("number", "tries"), [(errno.ESTALE, 3), (errno.ENOSPC, 1)])
def test_a_file_that_cannot_be_written_is_tried_again_only_when_that_may_help(tmp_path, monkeypatch, number, tries):
    calls = []
    write = FileSink._write_file

    def fails(self, df, path):
        calls.append(path)
        if len(calls) < 3:
            error = SinkError(f"cannot write {path}")
            raise error from OSError(number, os.strerror(number))
        return write(self, df, path)

    monkeypatch.setattr(FileSink, "_write_file", fails)
    with hf.Session(workers=1, progress="off") as session:
        rows = session.range(1000).repartition(1, by="value")
        if tries == 1:
            with pytest.raises(SinkError, match="cannot write"):
                rows.write_parquet(tmp_path / "out")
            assert not (tmp_path / "out").exists()
        else:
            rows.write_parquet(tmp_path / "out")
            assert session.read_parquet(str(tmp_path / "out")).sort("value").collect()["value"].to_list() == list(range(1000))
    assert len(calls) == tries and len({path.split(".")[-2] for path in calls}) == tries


def test_a_file_that_cannot_be_read_is_read_again(tmp_path, monkeypatch):
    pl.DataFrame({"a": [1, 2, 3]}).write_parquet(tmp_path / "a.parquet")
    scan, calls = ReadParquet.scan, []

    def stale(self, split):
        calls.append(split)
        if len(calls) == 1:
            raise OSError("Stale file handle (os error 116): a.parquet")
        return scan(self, split)

    with hf.Session(workers=1, progress="off") as session:
        table = session.read_parquet(str(tmp_path / "a.parquet"))
        monkeypatch.setattr(ReadParquet, "scan", stale)
        assert table.collect()["a"].to_list() == [1, 2, 3]
    assert len(calls) == 2


def test_a_task_that_has_handed_rows_over_is_not_repeated(tmp_path):
    """It is worked on piece by piece, and the second piece fails."""

    def second_fails(df):
        if df.height:
            number = len(list(tmp_path.iterdir()))
            (tmp_path / str(number)).touch()
            if number == 1:
                raise OSError(errno.EIO, "Input/output error")
        return df

    with hf.Session(workers=1, progress="off", target_partition_bytes=10_000) as session:
        rows = session.range(50_000).repartition(1, by="value").map_batches(second_fails, deterministic=True)
        with pytest.raises(TaskError, match="Input/output error"):
            rows.repartition(2, by="value").count()
    assert len(list(tmp_path.iterdir())) == 2


def test_an_action_that_is_cancelled_is_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("hpcflow.runtime.task_evaluation.pause_s", lambda attempt: 60.0)
    with hf.Session(workers=1, progress="off") as session:
        future = session.range(10).map_batches(failing_first(tmp_path, times=9), deterministic=True).submit()
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        assert future.cancel()
        with pytest.raises(hf.ActionCancelledError):
            future.result(timeout=20)
    assert len(list(tmp_path.iterdir())) == 1


def test_pauses_grow():
    assert [retries.pause_s(n) for n in range(3)] == pytest.approx([0.1, 0.4, 1.6])
