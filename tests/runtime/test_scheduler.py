"""Who runs which task: the pure decisions, and what they come to on uneven workers and data."""

import threading
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcflow as hf
from hpcflow.events import records
from hpcflow.ir.properties import Pattern
from hpcflow.runtime import scheduler
from hpcflow.testing.session import run_session
from tests.api.oracle import same


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 8))
def test_groups_hand_out_every_task_and_shrink(tasks, workers, slots):
    sizes = []
    left = tasks
    while left:
        sizes.append(scheduler.group_size(left, workers, slots))
        assert 1 <= sizes[-1] <= left
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) <= 2 * workers * (1 + tasks.bit_length()) + tasks // slots + 1


def test_a_worker_wants_more_when_no_more_than_its_slots_are_busy():
    assert scheduler.wants_more(2, slots=2)
    assert not scheduler.wants_more(3, slots=2)


def test_half_of_what_the_most_loaded_worker_has_queued_is_taken():
    assert scheduler.victim({1: 2, 2: 9, 3: 0}, thief=3, slots=1) == (2, 4)
    assert scheduler.victim({1: 1, 2: 1, 3: 0}, thief=3, slots=1) is None


@given(st.integers(1, 200), st.integers(1, 20))
def test_partitions_are_spread_evenly_in_runs(partitions, workers):
    owners = scheduler.partition_owners(partitions, workers)
    counts = np.bincount(owners, minlength=workers)
    assert len(owners) == partitions
    assert counts.max() - counts.min() <= 1
    assert list(owners) == sorted(owners)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60), st.integers(1, 9))
def test_balanced_owners_are_runs_with_the_smallest_largest_load(sizes, workers):
    owners = scheduler.balanced_owners(sizes, workers)
    assert list(owners) == sorted(owners)
    assert max(owners) < workers
    largest = max(sum(s for s, o in zip(sizes, owners, strict=True) if o == w) for w in range(workers))
    assert largest <= max(*sizes, -(-sum(sizes) // workers) + max(sizes))
    if len(sizes) <= workers:
        assert largest == max(sizes)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3)), max_size=40), st.integers(1, 300), st.integers(1, 4))
def test_coalesced_runs_cover_all_partitions_once_and_keep_owners(parts, target, tasks):
    sizes, owners = [s for s, _ in parts], sorted(o for _, o in parts)
    runs = scheduler.coalesce(sizes, owners, target, tasks)
    assert [i for start, stop in runs for i in range(start, stop)] == list(range(len(sizes)))
    for start, stop in runs:
        assert len(set(owners[start:stop])) == 1
        own = [size for size, owner in zip(sizes, owners, strict=True) if owner == owners[start]]
        assert stop - start == 1 or sum(sizes[start:stop]) <= target + max(own) / 2  # even runs: at most half a partition more than the target


# -- what it comes to -------------------------------------------------------------------------------------------------------------------------------


def _rows_received(session, dataset):
    ends = []
    stop = session.events.subscribe(ends.append)
    dataset.count()
    stop()
    steps = {e.step: e.pattern for e in ends if isinstance(e, records.ExchangeStarted) and not e.edge.endswith("driver")}
    rows: dict[int, dict[int, int]] = {}
    for e in ends:
        if isinstance(e, records.ExchangeFinished) and e.step in steps and steps[e.step] in {p.value for p in Pattern if p.is_shuffle}:
            rows.setdefault(e.step, {})[e.rank] = e.rows_received
    return rows


def test_uniform_keys_are_spread_within_half_of_the_mean():
    table = pl.DataFrame({"k": np.random.default_rng(1).integers(0, 10**9, 30_000), "s": [f"key {n}" for n in range(30_000)]})
    shapes = {
        "repartition": lambda d: d.repartition(by="k"),
        "strings": lambda d: d.repartition(by="s"),
        "round robin": lambda d: d.repartition(),
        "sort": lambda d: d.sort("k"),
        "join": lambda d: d.join(d.select("k", z="s"), on="k"),
        "group_by": lambda d: d.group_by("k").agg(pl.len()),
        "over": lambda d: d.with_columns(x=pl.col("k").count().over("s")),
        "unique": lambda d: d.unique("k"),
    }

    def job(session):
        found = {name: _rows_received(session, chain(session.from_polars(table))) for name, chain in shapes.items()}
        for name, exchanges in found.items():
            assert exchanges, name
            for received in exchanges.values():
                mean = sum(received.values()) / session.workers
                assert max(received.values()) <= 1.5 * mean, (name, received)

    run_session(job, workers=3, broadcast_threshold_bytes=0)


def _slow_on_first(df):
    if _is_first_worker():
        time.sleep(0.05)
    return df


def _is_first_worker():
    """In process, the first thread that asks stands for worker 0."""
    with _lock:
        if not _first:
            _first.append(threading.get_ident())
    return threading.get_ident() == _first[0]


_lock = threading.Lock()
_first: list[int] = []


def test_queued_tasks_of_a_slow_worker_go_elsewhere(tmp_path):
    table = pl.DataFrame({"i": range(400)})
    for n in range(40):
        table.slice(n * 10, 10).write_parquet(tmp_path / f"{n:02}.parquet")
    _first.clear()

    def job(session):
        seen = []
        session.events.subscribe(seen.append)
        got = session.read_parquet(tmp_path / "*.parquet").with_property(parallelism=40).map_batches(_slow_on_first, schema=table.schema).collect()
        same(got, table)
        return seen

    seen = run_session(job, workers=3)
    moved = [e for e in seen if isinstance(e, records.TasksMoved)]
    ran = [e.worker for e in seen if isinstance(e, records.TaskFinished)]
    slow = min({1, 2, 3}, key=ran.count)
    assert slow in {e.from_worker for e in moved}
    assert ran.count(slow) < len(ran) / 3


def test_two_actions_have_exchanges_open_at_once():
    table = pl.DataFrame({"k": [n % 97 for n in range(5000)], "i": range(5000)})

    def slow(df):
        time.sleep(0.02)
        return df

    def job(session):
        seen, results, errors = [], {}, []
        session.events.subscribe(seen.append)

        def act(name):
            try:
                base = session.from_polars(table).map_batches(slow, schema=table.schema)
                for _ in range(4):
                    results[name] = base.group_by("k").agg(pl.col("i").alias("all")).sort("k").collect()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=act, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        want = table.group_by("k").agg(pl.col("i").alias("all")).sort("k")
        same(results[0], want)
        same(results[1], want)
        open_by_action: dict[int, int] = {}
        together = False
        for event in seen:
            if isinstance(event, records.ActionStarted):
                open_by_action[event.action] = 0
            elif isinstance(event, records.ExchangeStarted):
                open_by_action[event.action] += 1
                together = together or sum(1 for n in open_by_action.values() if n) > 1
            elif isinstance(event, records.ActionFinished):
                del open_by_action[event.action]
        assert together

    run_session(job, workers=2, threads=2)


@pytest.mark.parametrize("workers", [1, 3])
def test_one_slot_a_small_window_and_forced_spill_end(workers, tmp_path):
    rows = 60_000
    table = pl.DataFrame({"k": range(rows), "x": [n * 7 % rows for n in range(rows)], "s": ["some text that takes room"] * rows})

    def job(session):
        seen = []
        session.events.subscribe(seen.append)
        d = session.from_polars(table)
        same(d.repartition(by="k").sort("x").select("x").collect(), table.sort("x").select("x"))
        joined = d.join(d.select(k="x", z="k"), on="k").group_by("s").agg(pl.len(), pl.col("z").sum())
        same(joined.collect(), table.group_by("s").agg(pl.len(), z=pl.col("k").sum()))
        one, two = hf.collect_all([d.sort("x", descending=True).select("x"), d.unique("k").select("k")])
        same(one, table.sort("x", descending=True).select("x"))
        assert two.height == rows
        assert any(isinstance(e, records.SpillWritten) for e in seen)

    run_session(
        job,
        workers=workers,
        threads=1,
        window_bytes=1 << 20,
        chunk_bytes=64 << 10,
        memory_budget=1_500_000,
        target_partition_bytes=1 << 20,
        scratch=str(tmp_path),
        broadcast_threshold_bytes=0,
    )


def test_few_tasks_are_dealt_to_the_freest_workers():
    assert scheduler.deal(3, {1: 2, 2: 1}) == [1, 1, 2]
    assert scheduler.deal(2, {1: 0, 2: 1, 3: 1}) == [2, 3]
    assert scheduler.deal(0, {}) == []


def test_more_tasks_than_free_slots_are_not_dealt():
    assert scheduler.deal(4, {1: 2, 2: 1}) == []
