"""Placement strategies: as pure functions, and by who runs what and how many bytes move."""

from __future__ import annotations

import threading
import time

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.bsp.place import Description
from hpcflow.events import records
from hpcflow.ir.operators.concat import Keep
from hpcflow.ir.properties import Pattern
from hpcflow.ir.task_needs import TaskNeeds
from hpcflow.native import hash_partition_ids
from hpcflow.runtime import binding, messages
from hpcflow.runtime.placement import STRATEGIES, PartitionView, TaskView, WorkerView, resolve_placement
from hpcflow.testing.session import InProcessSession

WORKERS = [WorkerView(number, f"n{number // 2}", cores=4, memory_bytes=1000, gpus=2, slots=4) for number in (0, 1, 3)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_names_workers_that_it_was_shown(name):
    strategy = STRATEGIES[name]
    for count in (0, 1, 2, 7, 50):
        tasks = [TaskView(index, 10, TaskNeeds(1, 10, 1), read_by=index % 5) for index in range(count)]
        assert {None, 0, 1, 3} >= set(strategy.tasks(tasks, WORKERS))
        assert len(strategy.tasks(tasks, WORKERS)) == count
        for known in (False, True):
            views = [PartitionView(p, 7 * p if known else None, {p % 5: 7 * p} if known else {}) for p in range(count)]
            places = strategy.partitions(views, WORKERS)
            assert len(places) == count and set(places) <= {0, 1, 3}


def test_first_fit_fills_a_worker_before_the_next():
    def places(count, **needs):
        return STRATEGIES["first_fit"].tasks([TaskView(index, 0, TaskNeeds(**needs)) for index in range(count)], WORKERS)

    assert places(5) == [0, 0, 0, 0, 1]
    assert places(5, cores=2) == [0, 0, 1, 1, 3]
    assert places(4, gpus=2) == [0, 1, 3, 0]
    assert places(3, memory_bytes=900) == [0, 1, 3]
    sized = [PartitionView(p, 300) for p in range(4)]
    assert STRATEGIES["first_fit"].partitions(sized, WORKERS) == [0, 1, 3, 0]


def test_data_locality_follows_the_bytes_and_keeps_loads_even():
    strategy = STRATEGIES["data_locality"]
    held = [PartitionView(p, 100, {number: 90, 0: 10}) for p, number in enumerate((3, 1, 3, 1, 0, 0))]
    assert strategy.partitions(held, WORKERS) == [3, 1, 3, 1, 0, 0]
    lopsided = strategy.partitions([PartitionView(p, 100, {1: 100}) for p in range(6)], WORKERS)
    assert lopsided.count(1) == 3  # 1.5 times its share
    again = [TaskView(index, read_by=place) for index, place in enumerate((1, 1, 1, 0, None, 7))]
    assert strategy.tasks(again, WORKERS) == [1, 1, None, 0, None, None]


# -- in a session -----------------------------------------------------------------------------------------------------------------------------------


class Seen:
    """Who ran what in one action, and what its shuffles moved."""

    def __init__(self, session, dataset):
        events = []
        stop = session.events.subscribe(events.append)
        session._run_end(dataset._then(Keep()), "test")
        stop()
        self.runners = {(e.stage, e.task): e.worker - 1 for e in events if isinstance(e, records.TaskFinished)}
        steps = {e.step for e in events if isinstance(e, records.ExchangeStarted) and e.pattern == Pattern.HASH_SHUFFLE.value}
        self.received = {e.rank - 1: e.rows_received for e in events if isinstance(e, records.ExchangeFinished) and e.step in steps}

    def source(self):
        return [worker for (stage, _), worker in sorted(self.runners.items()) if stage == "S0"]


def options(**given):
    return {"workers": 2, "threads": 1, "progress": "off", "step_timeout_s": 30} | given


def test_round_robin_deals_tasks_and_partitions_in_turn():
    with InProcessSession(**options(placement="round_robin")) as session:
        seen = Seen(session, session.range(80).with_property(parallelism=6))
        assert seen.source() == [0, 1] * 3
        parts = session.range(80).repartition(4, by="value")
        in_turn = Seen(session, parts)
        owners = session._master.worker_ranks
    with InProcessSession(**options()) as session:
        in_runs = Seen(session, session.range(80).repartition(4, by="value"))
    assert len(owners) == 2 and sum(in_turn.received.values()) == sum(in_runs.received.values()) == 80
    assert in_turn.received != in_runs.received


def test_first_fit_leaves_workers_free_for_others():
    with InProcessSession(**options(placement="first_fit", threads=3)) as session:
        assert Seen(session, session.range(80).with_property(parallelism=3)).source() == [0, 0, 0]
        assert Seen(session, session.range(80).with_property(parallelism=4)).source() == [0, 0, 0, 1]


def test_data_locality_reads_files_where_they_were_read_before(tmp_path):
    for part in range(4):
        pl.DataFrame({"k": [part] * 50}).write_parquet(tmp_path / f"{part}.parquet")
    with InProcessSession(**options(placement="data_locality")) as session:
        first = Seen(session, session.read_parquet(tmp_path).with_property(parallelism=4, placement=lambda tasks, workers: [1, 1, 0, 0])).source()
        assert first == [1, 1, 0, 0]
        assert Seen(session, session.read_parquet(tmp_path).with_property(parallelism=4).filter(pl.col("k") >= 0)).source() == first


def test_data_locality_moves_no_rows_that_lie_well_already():
    """Task i of the source makes the keys of its own; its worker then owns their partitions, and nothing crosses over."""

    def crossed(strategy, held):
        with InProcessSession(**options(placement=strategy)) as session:
            made = session.range(1000).with_property(parallelism=4, placement=lambda tasks, workers: held)
            keyed = made.select(k=pl.col("value") // 250).repartition(16, by="k").with_property(data_flow="pull")
            owners = opened(session, keyed)
        partition = hash_partition_ids(pl.DataFrame({"k": range(4)}), 16)
        return sum(250 for k in range(4) if owners[partition[k]] - 1 != held[k])

    one, other = [1, 1, 0, 0], [0, 0, 1, 1]
    assert crossed("data_locality", one) == crossed("data_locality", other) == 0
    assert crossed("dynamic", one) + crossed("dynamic", other) > 0  # there partitions lie in runs, whoever has their rows


def opened(session, dataset):
    """Rank of each partition of the one hash shuffle of an action."""
    master = session._master
    send, found = master.send_to, []

    def look(ranks, message):
        for one in message.messages if isinstance(message, messages.Several) else (message,):
            if isinstance(one, messages.OpenExchange) and len(one.spec.owners) == 16:
                found.append(one.spec.owners)
        send(ranks, message)

    master.send_to = look
    assert dataset.count() == 1000
    del master.send_to
    return found[0]


def test_a_function_places_the_tasks_of_a_session_or_of_one_dataset():
    def by_size(tasks, workers):
        assert all(w.memory_bytes > 0 and w.cores >= 1 for w in workers)
        return [workers[-1].number if task.size_bytes > 100 else None for task in tasks]

    with InProcessSession(**options(placement=by_size)) as session:
        assert Seen(session, session.range(400).with_property(parallelism=4)).source() == [1] * 4
        assert Seen(session, session.range(400).with_property(parallelism=4, placement="round_robin")).source() == [0, 1, 0, 1]
        assert Seen(session, session.range(400).with_property(parallelism=4, placement=(0,))).source() == [0] * 4


def test_a_wrong_answer_or_name_is_told():
    with pytest.raises(hf.ConfigError, match="data_locality"):
        InProcessSession(**options(placement="data_localty"))
    with InProcessSession(**options()) as session:
        data = session.range(40).with_property(parallelism=4)
        with pytest.raises(hf.HpcflowError, match=r"for 4 tasks of stage 0 .*workers \[0, 1\]"):
            data.with_property(placement=lambda tasks, workers: [0, 1, 2, 3]).collect()
        with pytest.raises(hf.ConfigError, match="round_robin"):
            data.with_property(placement="robin").collect()
        with pytest.raises(hf.ConfigError, match="one stage"):
            data.with_property(placement="round_robin").map_batches(lambda df: df, schema=data.schema).with_property(placement=(0,)).collect()
        assert data.count() == 40


def test_an_entry_point_is_a_strategy(monkeypatch):
    class Point:
        name = "all_on_the_last"

        def load(self):
            return lambda tasks, workers: [workers[-1].number] * len(tasks)

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Point()] if group == "hpcflow.placements" else [])
    assert resolve_placement("all_on_the_last").tasks([TaskView(0)], WORKERS) == [3]


# -- resources ---------------------------------------------------------------------------------------------------------------------------------------


def test_a_gpu_is_with_one_task_at_a_time(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    _seen.clear()
    with InProcessSession(**options(threads=4)) as session:
        assert [session._master.resources[rank].gpus for rank in session._master.worker_ranks] == [("4", "5"), ("6", "7")]
        session.range(80).with_property(parallelism=8, resources={"gpus": 1}).foreach_partition(_hold_gpu)
        assert {gpu for gpu, _ in _seen} <= {"4", "5", "6", "7"} and len(_seen) == 8
        assert max(count for _, count in _seen) == 1
        with pytest.raises(hf.HpcflowError, match=r"needs 3 GPUs.*worker 0: .* 2 GPUs"):
            session.range(8).with_property(resources={"gpus": 3}).collect()
        with pytest.raises(hf.HpcflowError, match="needs 1,000,000,000,000 bytes"):
            session.range(8).with_property(resources={"memory": "1TB"}).collect()
    with pytest.raises(hf.HpcflowError, match="on its own thread"):
        hf.task_resources()


_seen: list[tuple[str, int]] = []
_users: dict[str, int] = {}
_guard = threading.Lock()


def _hold_gpu(df):
    """Shipped by name: in-process workers find these books."""
    (gpu,) = hf.task_resources().gpus
    with _guard:
        _users[gpu] = _users.get(gpu, 0) + 1
        _seen.append((gpu, _users[gpu]))
    time.sleep(0.01)
    with _guard:
        _users[gpu] -= 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"gpu": 1}, "no resource 'gpu'.*gpus"), ({"memory": "many"}, "memory: exp"), ({"cores": -1}, "cores: "), (3, "a dict")],
)
def test_wrong_resources_are_refused(wrong, message):
    with InProcessSession(**options()) as session, pytest.raises(hf.ConfigError, match=message):
        session.range(3).with_property(resources=wrong)


# -- binding -----------------------------------------------------------------------------------------------------------------------------------------


def test_only_processes_with_the_same_cpus_share_them():
    free, bound = Description("n0", "n0", (0, 1, 2, 3), ()), Description("n0", "n0", (0, 1), ())
    far = Description("n1", "n1", (0, 1, 2, 3), ())
    assert binding.shares_of_cpus({1: (free, 11), 2: (free, 12), 3: (far, 11)}) == {1: (0, 2), 2: (1, 2)}
    assert binding.shares_of_cpus({1: (free, 11), 2: (bound, 12)}) == {}  # somebody has bound them
    assert binding.shares_of_cpus({1: (free, 11), 2: (free, 11)}) == {}  # threads of one process


def test_blocks_are_apart_and_too_few_cores_bind_nobody():
    cores = ((0, 4), (1, 5), (2, 6))
    blocks = [binding.block_of(cores, place, 2) for place in range(2)]
    assert blocks == [frozenset({0, 4}), frozenset({1, 5, 2, 6})]
    assert binding.block_of(cores, 0, 4) == frozenset()
