"""Futures of actions: concurrent.futures semantics, several actions in flight, cancelling one of them."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
import time

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.events import records
from tests.thorough import thorough

SCHEMA = {"value": pl.Int64}
gates: dict[str, threading.Event] = {}
"""Functions reach them by name: in process they run in this very module, and what they hold themselves is pickled."""
notes: dict[str, list[int]] = {}


def wait_at(name, df):
    notes[name].append(df.height)
    gates[name].wait(20)
    return df


def note_at(name, df):
    notes[name].append(df.height)
    return df


def waits_for(name):
    return lambda df: wait_at(name, df)


@pytest.fixture
def gate(request):
    name = request.node.name
    gates[name], notes[name] = threading.Event(), []
    yield name
    gates.pop(name).set()


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(params=[thorough(1), 2, thorough(3)], ids=lambda w: f"W{w}")
def session(request):
    with hf.Session(workers=request.param, progress="off") as s:
        yield s


def held_blocks(session):
    """What the workers hold beside caches."""
    return [store.statistics().blocks for store in session._cluster.stores[1:]]


def assert_nothing_is_held(session):
    until(lambda: held_blocks(session) == [0] * session.workers)  # unpersist does not wait for its message to arrive
    assert not session._cluster.master._running


def test_every_action_has_a_future(session, tmp_path):
    data = session.range(100)
    assert data.submit().result(20)["value"].to_list() == list(range(100))
    assert data.submit("count").result(20) == 100
    assert data.submit("to_arrow").result(20).num_rows == 100
    assert data.submit("to_numpy").result(20).shape == (100, 1)
    assert data.submit("write_parquet", tmp_path / "out").result(20) is None
    assert data.submit("write_parquet", tmp_path / "out", mode="ignore").result(20) is None
    assert data.submit("foreach_partition", lambda df: None).result(20) is None
    assert session.read_parquet(str(tmp_path / "out")).count() == 100
    assert [df.height for df in session.submit([data, data.head(3)]).result(20)] == [100, 3]


def test_an_unknown_action_is_refused_at_its_line(session):
    with pytest.raises(hf.ConfigError, match="did you mean 'collect'"):
        session.range(3).submit("colect")
    with pytest.raises(hf.ConfigError, match="one dataset"):
        session.submit([session.range(3), session.range(4)], "count")


def test_a_future_has_the_states_of_concurrent_futures(session, gate):
    future = session.range(10).map_batches(waits_for(gate), schema=SCHEMA).submit("count")
    called = []
    future.add_done_callback(called.append)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.1)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0.01)
    assert future.running() and not future.done() and not future.cancelled()
    gates[gate].set()
    assert future.result(20) == 10 and future.exception() is None
    assert future.done() and not future.running() and not future.cancel() and not future.cancelled()
    assert future.wait_released(5) and called == [future]


def test_futures_go_with_wait_and_as_completed(session, gate):
    slow = session.range(10).map_batches(waits_for(gate), schema=SCHEMA).submit("count")
    until(lambda: notes[gate])
    failing, other = session.range(10).map_batches(fails, schema=SCHEMA).submit(), session.range(10).submit("count")
    assert concurrent.futures.wait([slow, failing, other], timeout=0.1).not_done >= {slow}
    slow.cancel()
    assert next(concurrent.futures.as_completed([slow], timeout=1)) is slow
    gates[gate].set()
    done, rest = concurrent.futures.wait([slow, failing, other], timeout=20)
    assert done == {slow, failing, other} and not rest
    assert slow.cancelled() and isinstance(failing.exception(), hf.TaskError) and other.result() == 10


def fails(df):
    raise ValueError("no such luck")


def test_a_failure_comes_with_the_future_and_leaves_the_session_usable(session):
    failing = session.range(10).map_batches(fails, schema=SCHEMA).submit()
    other = session.range(1000).submit("count")
    with pytest.raises(hf.TaskError, match="no such luck"):
        failing.result(20)
    assert other.result(20) == 1000 and session.range(5).count() == 5
    assert_nothing_is_held(session)


def test_several_threads_drive_one_session(session):
    def drive(n):
        data = session.range(n).with_columns(k=pl.col("value") % 7)
        return data.repartition(5, by="k").group_by("k").agg(pl.len()).sort("k").collect()["len"].sum()

    sizes = [100 * n for n in range(1, 9)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(drive, sizes)) == sizes
    assert_nothing_is_held(session)


def test_a_long_action_does_not_starve_a_short_one(gate):
    """One worker, one slot: the long action has 40 tasks before the short one comes, whose two tasks run among the first that follow."""
    ran = notes[gate]

    def note(df):
        time.sleep(0.02)
        return note_at(gate, df)

    with hf.Session(workers=1, progress="off") as s:
        long = s.range(4000).with_property(parallelism=40).map_batches(note, schema=SCHEMA).submit("count")
        until(lambda: len(ran) >= 3)
        assert s.range(6).map_batches(note, schema=SCHEMA).count() == 6
        at = len(ran)
        assert at < 20 and not long.done()
        assert long.result(20) == 4000


def test_cancelling_one_ends_it_at_a_task_boundary_and_the_others_go_on(session, gate, tmp_path):
    data = session.range(1000).with_property(parallelism=30).map_batches(waits_for(gate), schema=SCHEMA)
    future = data.repartition(8, by="value").submit("write_parquet", tmp_path / "out")
    until(lambda: notes[gate])
    assert future.cancel() and future.cancelled() and future.done() and future.cancel()
    with pytest.raises(hf.ActionCancelledError, match="write_parquet was cancelled"):
        future.result()
    with pytest.raises(concurrent.futures.CancelledError):
        future.exception()
    assert not future.wait_released(0.2)  # its tasks still wait
    other = session.range(50).submit("count")
    gates[gate].set()
    assert other.result(20) == 50 and future.wait_released(20)
    assert len(notes[gate]) <= session.workers and not (tmp_path / "out").exists()
    assert_nothing_is_held(session)


def test_all_workers_acknowledge_a_cancelled_exchange(session, gate):
    seen = []
    session.events.subscribe(seen.append)
    left = session.range(2000).repartition(6, by="value")
    future = left.map_batches(waits_for(gate), schema=SCHEMA).repartition(4).submit()
    until(lambda: any(isinstance(event, records.ExchangeFinished) for event in seen))
    assert future.cancel()
    gates[gate].set()
    assert future.wait_released(20)
    assert_nothing_is_held(session)
    assert session.range(2000).repartition(6, by="value").count() == 2000


def test_a_queued_future_can_be_cancelled_before_it_begins(gate):
    with hf.Session(workers=1, progress="off") as s:
        s._threads._limit = 1
        blocking = s.range(3).map_batches(waits_for(gate), schema=SCHEMA).submit("count")
        queued = s.range(4).submit("count")
        assert not queued.running() and queued.cancel() and queued.cancelled()
        gates[gate].set()
        assert blocking.result(20) == 3 and queued.wait_released(20)


def test_two_actions_that_cache_one_dataset_fill_it_once(session, gate):
    def note(df):
        time.sleep(0.05)
        return note_at(gate, df)

    cached = session.range(90).map_batches(note, schema=SCHEMA).cache()
    both = [cached.submit("count"), cached.submit("count"), cached.filter(pl.col("value") < 10).submit("count")]
    assert [future.result(20) for future in both] == [90, 90, 10]
    assert sum(notes[gate]) == 90
    cached.unpersist()
    assert_nothing_is_held(session)


def test_what_is_unpersisted_stays_for_the_action_that_reads_it(session, gate):
    cached = session.range(60).cache()
    cached.count()
    reading = cached.repartition(3).map_batches(waits_for(gate), schema=SCHEMA).join(cached, on="value").submit("count")
    until(lambda: notes[gate])
    cached.unpersist()
    again = cached.submit("count")  # computed again beside the old blocks
    gates[gate].set()
    assert reading.result(20) == 60 and again.result(20) == 60
    cached.unpersist()
    assert_nothing_is_held(session)


def test_the_memory_budget_is_shared_by_the_actions_in_flight():
    rows = 60_000
    with hf.Session(workers=2, memory_budget=3_000_000, broadcast_threshold_bytes=0, progress="off") as s:
        data = s.range(rows).with_columns(s=pl.format("{} some text that takes room", pl.col("value")))
        futures = [data.repartition(8, by="value").sort("s").select(pl.col("value").sum()).submit() for _ in range(3)]
        assert [future.result(60).item() for future in futures] == [rows * (rows - 1) // 2] * 3
        assert sum(store.statistics().spills for store in s._cluster.stores[1:]) > 0
        assert_nothing_is_held(s)


def test_leaving_the_block_waits_for_futures_and_an_exception_cancels_them(gate):
    with hf.Session(workers=2, progress="off") as s:
        future = s.range(10).map_batches(lambda df: time.sleep(0.1) or df, schema=SCHEMA).submit("count")
    assert future.result(0) == 10
    with pytest.raises(KeyError), hf.Session(workers=2, progress="off") as s:
        future = s.range(100).with_property(parallelism=50).map_batches(lambda df: time.sleep(0.1) or df, schema=SCHEMA).submit("count")
        raise KeyError("mine")
    assert future.cancelled() and future.wait_released(0)
    with pytest.raises(hf.ConfigError, match="closed"):
        s.range(3).submit()


def test_ctrl_c_while_waiting_cancels_that_action_alone(gate):
    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    with hf.Session(workers=2, progress="off") as s:
        other = s.range(10).with_property(parallelism=1).map_batches(waits_for(gate), schema=SCHEMA).submit("count")
        future = s.range(10).map_batches(waits_for(gate), schema=SCHEMA).submit("count")
        threading.Timer(0.3, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            future.result(20)
        assert future.cancelled() and not other.done()
        threading.Timer(0.3, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            s.range(10).map_batches(waits_for(gate), schema=SCHEMA).collect()
        gates[gate].set()
        assert other.result(20) == 10 and s.range(7).count() == 7


@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_batches_fetch_every_kept_block_once(session, rows):
    fetched = []
    session.events.subscribe(lambda event: fetched.append(event.rows) if isinstance(event, records.ActionFinished) else None)
    table = pl.DataFrame({"i": range(300), "s": [f"row {i}" for i in range(300)]})
    batches = list(session.from_polars(table).repartition(9).sort("i").iter_batches(rows))
    assert [b.height for b in batches[:-1]] == [rows] * (len(batches) - 1)
    assert pl.concat(batches).equals(table)
    assert sum(fetched[1:]) == 300 and len(fetched) <= 11
    assert_nothing_is_held(session)


def test_a_placement_that_no_worker_has_is_refused_at_its_line(session):
    data = session.range(9)
    with pytest.raises(hf.ConfigError, match=rf"no such worker; this session has {session.workers}"):
        data.with_property(placement=(99,))
    assert data.with_property(placement=(0, 99)).count() == 9


def test_a_notebook_shows_the_schema_and_runs_nothing(session):
    data = session.range(3).with_columns(pl.lit("a").alias("<b>")).map_batches(fails, schema={"<b>": pl.String, "x": pl.List(pl.Int64)})
    html = data._repr_html_()
    assert "map_batches" in html and "&lt;b&gt;" in html and "<b>map" in html and "List(Int64)" in html
