"""What fails in a task, a sink or a source reaches the driver as one error, and the session goes on (in-process workers)."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.errors import (
    ConfigError,
    LaunchError,
    SinkError,
    SourceError,
    SpillError,
    StepTimeoutError,
    TaskError,
    UnpicklableError,
    WorkerLostError,
)
from hpcflow.runtime import action_end, messages


@pytest.fixture
def session():
    with hf.Session(workers=2, progress="off") as s:
        yield s


def assert_usable(session: hf.Session) -> None:
    got = session.range(0, 100).group_by(pl.col("value") % 3).agg(pl.len()).sort("value").collect()
    assert got["len"].to_list() == [34, 33, 33]
    master = session._cluster.master
    assert not master.exchanges._open and not master._running
    stores = session._cluster.stores
    assert len(stores) >= 2 and not any(len(store) for store in stores), [store.keys() for store in stores]


class OddError(Exception):
    """A user's exception that pickle cannot rebuild."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def explode_on(value):
    def function(df):
        if value in df["value"]:
            raise ValueError(f"no {value} please")
        return df

    return function


# -- functions of the user


def test_a_failing_function_is_one_task_error_with_place_traceback_and_cause(session):
    failing = session.range(0, 100).map_batches(explode_on(70), schema={"value": pl.Int64})
    with pytest.raises(TaskError) as caught:
        failing.collect()
    error = caught.value
    assert error.rank in (1, 2) and error.host == os.uname().nodename
    assert "map_batches" in error.operator and "map_batches" in error.stage
    assert "in function" in error.remote_traceback and "no 70 please" in error.remote_traceback
    assert isinstance(error.__cause__, ValueError) and "no 70 please" in str(error)
    assert_usable(session)


def test_an_exception_that_cannot_travel_is_told_as_text(session):
    def function(df):
        raise OddError(1, 2)

    with pytest.raises(TaskError, match="OddError: 1 and 2") as caught:
        session.range(0, 10).map_batches(function, schema={"value": pl.Int64}).collect()
    assert caught.value.__cause__ is None
    assert_usable(session)


@pytest.mark.parametrize("error", [SystemExit(4), KeyboardInterrupt(), MemoryError("much")])
def test_a_function_cannot_end_its_worker_by_raising(session, error):
    def function(df):
        raise error

    with pytest.raises(TaskError, match=type(error).__name__):
        session.range(0, 10).map_batches(function, schema={"value": pl.Int64}).collect()
    assert_usable(session)


def test_the_operator_that_failed_is_named_within_a_fused_chain(session):
    chain = (
        session.range(0, 100)
        .with_columns(text=pl.col("value").cast(pl.String) + "x")
        .filter(pl.col("value") > 5)
        .with_columns(number=pl.col("text").cast(pl.Int64))
        .select("number")
        .with_columns(other=pl.col("number") + 1)
    )
    with pytest.raises(TaskError) as caught:
        chain.collect()
    assert "with_columns" in caught.value.operator
    assert isinstance(caught.value.__cause__, pl.exceptions.PolarsError)
    assert_usable(session)


def test_a_failure_above_map_batches_is_not_blamed_on_it(session):
    failing = session.range(0, 10).select(value=(pl.col("value").cast(pl.String) + "x").cast(pl.Int64))
    with pytest.raises(TaskError) as caught:
        failing.map_batches(lambda df: df, schema={"value": pl.Int64}).collect()
    assert "map_batches" not in caught.value.operator and "select" in caught.value.operator
    assert_usable(session)


def test_a_failing_function_inside_an_expression_names_its_operator(session):
    def fails(value):
        raise RuntimeError("inside of an expression")

    with pytest.raises(TaskError, match="inside of an expression") as caught:
        session.range(0, 10).with_columns(x=pl.col("value").map_elements(fails, return_dtype=pl.Int64)).collect()
    assert "with_columns" in caught.value.operator
    assert_usable(session)


def test_foreach_partition_that_fails_is_named(session):
    def fails(df):
        raise RuntimeError("each")

    with pytest.raises(TaskError, match="RuntimeError: each") as caught:
        session.range(0, 10).foreach_partition(fails)
    assert "foreach_partition" in caught.value.operator
    assert_usable(session)


def test_a_failure_while_others_wait_for_the_window_ends_the_action(tmp_path):
    with hf.Session(workers=3, progress="off", window_bytes=4096, chunk_bytes=1024, threads=2) as s:

        def fails_late(df):
            if 99_999 in df["value"]:
                time.sleep(0.2)
                raise ValueError("late")
            return df

        for _ in range(3):
            data = s.range(0, 100_000).map_batches(fails_late, schema={"value": pl.Int64}).repartition(12)
            with pytest.raises(TaskError, match="late"):
                data.group_by("value").agg(pl.len()).collect()
            assert_usable(s)


def test_a_failed_action_keeps_no_cache(session):
    data = session.range(0, 1000).map_batches(explode_on(900), schema={"value": pl.Int64}).cache()
    with pytest.raises(TaskError):
        data.count()
    assert not session._cluster.master.caches
    assert_usable(session)


def test_a_cache_that_failed_once_is_filled_by_the_next_action(session, tmp_path):
    marker = tmp_path / "fail"
    marker.touch()

    def fails_once(df, marker=str(marker)):
        if os.path.exists(marker) and 900 in df["value"]:
            raise ValueError("once")
        return df

    data = session.range(0, 1000).map_batches(fails_once, schema={"value": pl.Int64}).cache()
    with pytest.raises(TaskError, match="once"):
        data.count()
    marker.unlink()
    assert data.count() == 1000
    assert data.collect()["value"].to_list() == list(range(1000))


def test_an_action_ends_after_a_long_function_of_another_worker_has_returned(session):
    def one_fails_one_works(df):
        if 0 in df["value"]:
            time.sleep(0.1)  # the other has begun
            raise ValueError("quick")
        time.sleep(0.7)
        return df

    started = time.monotonic()
    with pytest.raises(TaskError, match="quick"):
        session.range(0, 100).map_batches(one_fails_one_works, schema={"value": pl.Int64}).collect()
    assert time.monotonic() - started >= 0.3
    assert_usable(session)


def test_a_function_that_never_returns_loses_the_session_and_not_the_error(monkeypatch):
    monkeypatch.setattr(action_end, "END_TIMEOUT_S", 0.5)
    release = threading.Event()
    hangs = threading.Event()
    events[id(release)], events[id(hangs)] = release, hangs
    key, begun = id(release), id(hangs)

    def fails_or_hangs(df):
        if 0 in df["value"]:
            waiter(begun)
            raise ValueError("quick")
        begins(begun)
        waiter(key)
        return df

    s = hf.Session(workers=2, progress="off")
    try:
        with pytest.raises(TaskError, match="quick") as caught:
            s.range(0, 100).map_batches(fails_or_hangs, schema={"value": pl.Int64}).collect()
        assert any("still run tasks" in note for note in caught.value.__notes__)
        with pytest.raises(WorkerLostError, match="start a new session"):
            s.range(0, 10).collect()
    finally:
        release.set()
        s.close()


events: dict[int, threading.Event] = {}


def begins(key):
    events[key].set()


def waiter(key):
    events[key].wait(20)


# -- what cannot travel


def test_an_unpicklable_function_is_named_before_anything_starts(session):
    lock = threading.Lock()

    def holds_a_lock(df):
        with lock:
            return df

    with pytest.raises(UnpicklableError, match=r"map_batches.*holds_a_lock"):
        session.range(0, 10).map_batches(holds_a_lock, schema={"value": pl.Int64}).collect()
    assert not session._cluster.master._running
    assert_usable(session)


def test_a_plan_that_a_worker_cannot_read_is_one_error(session):
    with pytest.raises(Exception, match="cannot be read here"):
        session.range(0, 10).map_batches(UnreadableElsewhere(), schema={"value": pl.Int64}).collect()
    assert_usable(session)


def refuse():
    raise ImportError("cannot be read here")


class UnreadableElsewhere:
    def __call__(self, df):
        return df

    def __reduce__(self):
        return (refuse, ())


def test_a_plan_damaged_on_its_way_is_refused_by_its_hash(session, monkeypatch):
    master = session._cluster.master
    send_to = master.send_to

    def damage(ranks, message):
        whole = message.messages if isinstance(message, messages.Several) else (message,)
        damaged = [replace(one, blob=one.blob + b"x") if isinstance(one, messages.KeepPlan) else one for one in whole]
        send_to(ranks, messages.Several(tuple(damaged)))

    monkeypatch.setattr(master, "send_to", damage)
    with pytest.raises(hf.HpcflowError, match="damaged on its way to rank"):
        session.range(0, 10).collect()
    monkeypatch.undo()
    assert_usable(session)


def test_other_versions_on_a_worker_are_refused_with_both_versions(monkeypatch):
    from hpcflow.runtime import master as master_module

    monkeypatch.setattr(master_module, "own_versions", lambda: (("polars", "0.1"), ("hpcflow", hf.__version__)))
    with pytest.raises(LaunchError, match=rf"polars {pl.__version__} there, 0.1 here"):
        hf.Session(workers=1, progress="off")


# -- sources, sinks


def test_a_file_that_vanishes_is_a_source_error_naming_it(session, tmp_path):
    for i in range(4):
        pl.DataFrame({"a": range(1000)}).write_parquet(tmp_path / f"{i}.parquet")
    data = session.read_parquet(str(tmp_path / "*.parquet"))
    (tmp_path / "2.parquet").unlink()
    with pytest.raises(SourceError, match=r"2\.parquet") as caught:
        data.select(pl.col("a").sum()).collect()
    assert any("rank" in note and "stage" in note for note in caught.value.__notes__)
    assert_usable(session)


def test_a_damaged_row_group_is_a_source_error_naming_it(session, tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": range(100_000)}).write_parquet(path, row_group_size=25_000, compression="zstd")
    import pyarrow.parquet as pq

    group = pq.ParquetFile(path).metadata.row_group(2).column(0)
    data = session.read_parquet(str(path))
    with path.open("r+b") as file:
        file.seek(group.data_page_offset)
        file.write(b"\xff" * 64)
    with pytest.raises(SourceError, match=r"t\.parquet, row group 2"):
        data.with_columns(b=pl.col("a") + 1).collect()
    assert_usable(session)


def test_a_full_disk_is_a_sink_error_and_leaves_nothing(session, tmp_path, monkeypatch):
    from hpcflow.ir.operators.write_parquet import WriteParquet

    def full(self, df, file):
        if df.height and 99 in df["value"]:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        df.write_parquet(file)

    data = session.range(0, 100)
    target = tmp_path / "out"
    monkeypatch.setattr(WriteParquet, "write_frame", full)
    with pytest.raises(SinkError, match="the disk is full") as caught:
        data.write_parquet(target)
    assert any("write_parquet" in note for note in caught.value.__notes__)
    assert not target.exists()
    assert_usable(session)


def test_a_commit_that_fails_leaves_nothing(session, tmp_path, monkeypatch):
    rename = os.rename

    def second_fails(source, target):
        if "part-00001" in str(target):
            raise OSError(5, "Input/output error")
        rename(source, target)

    target = tmp_path / "out"
    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(SinkError):
        session.range(0, 100).write_parquet(target)
    monkeypatch.undo()
    assert not target.exists() or not os.listdir(target)
    assert_usable(session)


def test_a_task_that_fails_leaves_no_output(session, tmp_path):
    target = tmp_path / "out"
    with pytest.raises(TaskError):
        session.range(0, 100).map_batches(explode_on(99), schema={"value": pl.Int64}).write_parquet(target)
    assert not target.exists()
    assert_usable(session)


def test_a_failing_scatter_is_the_error_of_the_action(session, monkeypatch):
    from hpcflow.shuffle.exchange import Exchange

    def fails(self, df, ids, *, task, attempt=0):
        raise RuntimeError("cannot scatter")

    data = session.from_dict({"a": list(range(20_000))})  # a table of few bytes travels with its tasks
    monkeypatch.setattr(Exchange, "insert", fails)
    with pytest.raises(RuntimeError, match="cannot scatter"):
        data.filter(pl.col("a") > 3).collect()
    monkeypatch.undo()
    assert_usable(session)


# -- memory


def test_a_session_that_does_not_open_leaves_no_threads(tmp_path: Path):
    (tmp_path / "file").touch()
    before = set(threading.enumerate())
    with pytest.raises(SpillError, match=r"scratch directory .*nowhere cannot be used: .*HPCFLOW_SCRATCH"):
        hf.Session(workers=2, scratch=str(tmp_path / "file" / "nowhere"), progress="off")
    assert set(threading.enumerate()) <= before


@pytest.mark.thorough
def test_a_shuffle_far_above_the_budget_works_by_spilling(tmp_path):
    n = 1_000_000
    with hf.Session(workers=2, memory_budget="2MB", scratch=str(tmp_path), progress="off") as s:
        data = s.range(0, n).with_columns(x=pl.col("value") * 3, y=pl.col("value") * 7)  # 24 MB
        got = data.repartition(16, by="value").select(pl.col("x").sum(), pl.col("y").sum(), pl.len()).collect()
        assert got.row(0) == (3 * n * (n - 1) // 2, 7 * n * (n - 1) // 2, n)
    assert not os.listdir(tmp_path)


def test_scratch_that_cannot_be_written_is_a_spill_error_naming_it(tmp_path, monkeypatch):
    from hpcflow.runtime.scratch import ScratchSpace

    with hf.Session(workers=2, memory_budget="2MB", scratch=str(tmp_path), progress="off") as s:

        def full(self, directory, block, size):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ScratchSpace, "_write_to", full)
        with pytest.raises(SpillError, match=str(tmp_path)):
            s.range(0, 2_000_000).with_columns(x=pl.col("value") * 3).repartition(8, by="value").sort("x").collect()
        monkeypatch.undo()
        assert_usable(s)


# -- time


@pytest.mark.thorough
def test_a_function_that_hangs_is_a_step_timeout_naming_the_task(capfd):
    release = threading.Event()
    key = id(release)
    events[key] = release

    def hangs(df):
        if 0 in df["value"]:
            waiter(key)
        return df

    s = hf.Session(workers=2, progress="off", step_timeout_s=1.0)
    started = time.monotonic()
    try:
        with pytest.raises(StepTimeoutError, match=r"task 0 of stage 0 .*map_batches.*rank 1") as caught:
            s.range(0, 100).map_batches(hangs, schema={"value": pl.Int64}).collect()
        assert time.monotonic() - started < 8
        assert any("in waiter" in note for note in caught.value.__notes__)
        assert "in waiter" in capfd.readouterr().err
    finally:
        release.set()
        s.close()


@pytest.mark.thorough
def test_a_long_task_that_works_is_no_timeout():
    def works(df):
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            sum(range(10_000))
        return df

    with hf.Session(workers=1, progress="off", step_timeout_s=2.0) as s:
        assert s.range(0, 100).map_batches(works, schema={"value": pl.Int64}).collect().height == 100


# -- the session


def test_a_closed_session_says_so(tmp_path):
    s = hf.Session(workers=1, progress="off")
    data = s.range(0, 10)
    s.close()
    s.close()
    for use in (data.collect, data.count, lambda: s.workers, lambda: data.explain(), lambda: data.write_parquet(tmp_path / "x")):
        with pytest.raises(ConfigError, match="closed"):
            use()


def test_leaving_a_session_does_not_mask_the_error(monkeypatch):
    with pytest.raises(ZeroDivisionError) as caught, hf.Session(workers=1, progress="off") as s:
        close = s._cluster.close

        def fails():
            close()
            raise OSError("cannot close")

        monkeypatch.setattr(s._cluster, "close", fails)
        raise ZeroDivisionError
    assert any("cannot close" in note for note in caught.value.__notes__)


def test_explain_only_prints_every_plan_once_and_gives_empty_results(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("HPCFLOW_EXPLAIN_ONLY", "1")
    with hf.Session(workers=2, progress="off") as s:
        data = s.range(10).with_columns(x=pl.col("value") * 2)
        assert data.collect().schema == {"value": pl.Int64, "x": pl.Int64} and not data.collect().height
        assert data.count() == 0
        data.write_parquet(tmp_path / "out")
    printed = capsys.readouterr().out
    assert printed.count("stages") >= 3 and not (tmp_path / "out").exists()
    assert "action 1: collect\n" in printed and "action 2: collect, the plan of action 1\n" in printed and "action 4: write_parquet\n" in printed


def test_ctrl_c_aborts_the_action_and_the_session_goes_on(session, tmp_path):
    import _thread

    target = tmp_path / "out"

    def slow(df):
        time.sleep(1.0)
        return df

    # Whoever runs the tests may have another handler, or none where they are a job in the background.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            session.range(0, 10).map_batches(slow, schema={"value": pl.Int64}).write_parquet(target)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert not target.exists()
    deadline = time.monotonic() + 20
    while session._cluster.master._running and time.monotonic() < deadline:  # its tasks return behind the driver's back
        time.sleep(0.02)
    assert_usable(session)


def test_two_actions_of_two_threads_fail_apart(session):
    results: dict[str, Any] = {}

    def run(name: str, value: int) -> None:
        try:
            results[name] = session.range(0, 1000).map_batches(explode_on(value), schema={"value": pl.Int64}).count()
        except TaskError as error:
            results[name] = error

    threads = [threading.Thread(target=run, args=args) for args in (("good", -1), ("bad", 500))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results["good"] == 1000 and isinstance(results["bad"], TaskError)
    assert_usable(session)


def test_errors_are_in_the_event_log(tmp_path):
    log = tmp_path / "events.jsonl"
    with hf.Session(workers=2, progress="off", event_log=log) as s, pytest.raises(TaskError):
        s.range(0, 10).map_batches(explode_on(3), schema={"value": pl.Int64}).collect()
    text = Path(log).read_text()
    assert '"task_failed"' in text and '"action_failed"' in text and "no 3 please" in text
