"""Every execution property is flipped, and bytes, files, messages, tasks or placement are seen to change: none is there without a reader."""

from __future__ import annotations

import dataclasses
import threading
import time

import polars as pl
import pytest

from hpcflow.events import records
from hpcflow.ir.operators.concat import Keep
from hpcflow.ir.properties import DataFlow, DataStore, EdgeProperties, Pattern, Persistence, SortKey, VertexProperties
from hpcflow.runtime import messages
from hpcflow.shuffle.exchange import Exchange
from hpcflow.testing.session import InProcessSession
from tests.thorough import thorough

ROWS = 4000
TABLE = pl.DataFrame({"i": range(ROWS), "k": [n % 8 for n in range(ROWS)]}).with_columns(
    hot=pl.when(pl.col("i") % 2 == 1).then(0).otherwise("i"), t=pl.lit("same text " * 4)
)


@pytest.fixture(scope="module")
def session():
    with InProcessSession(workers=2, threads=2, progress="off", step_timeout_s=30) as session:
        yield session


class Seen:
    """One action and all that could be seen of it."""

    def __init__(self, session, dataset):
        self.events = []
        self.messages = []
        master = session._cluster.master
        send_to = master.send_to
        unsubscribe = session.events.subscribe(self.events.append)

        def sent(ranks, message):
            self.messages += message.messages if isinstance(message, messages.Several) else (message,)
            send_to(ranks, message)

        master.send_to = sent
        try:
            self.sink = dataset._then(Keep())
            self.result = session._execute([self.sink], "test")
        finally:
            master.send_to = send_to
            unsubscribe()

    def of(self, kind):
        return [e for e in self.events if isinstance(e, kind)]

    def exchange(self, pattern):
        """The ends of the exchanges of one pattern."""
        steps = {e.step for e in self.of(records.ExchangeStarted) if e.pattern == pattern.value and not e.edge.endswith("driver")}
        return [e for e in self.of(records.ExchangeFinished) if e.step in steps]

    def rows_by_worker(self, pattern):
        return sorted(e.rows_received for e in self.exchange(pattern))

    def sent(self):
        return [message for message in self.messages if not isinstance(message, messages.LoadPlan)]


def parts(session, dataset, column):
    """The distinct values of a column in each partition with rows."""
    schema = {column: pl.List(dataset.schema[column])}
    lists = dataset.map_batches(lambda df: df.select(pl.col(column).unique().implode()), schema=schema).collect()[column]
    return [set(values) for values in lists]


# -- edges ------------------------------------------------------------------------------------------------------------------------------------------


def pattern_names_who_gets_the_rows(session):
    base = session.from_polars(TABLE).repartition(4)
    assert Seen(session, base).rows_by_worker(Pattern.ROUND_ROBIN) == [ROWS // 2, ROWS // 2]
    gathered = Seen(session, base.with_property(pattern=Pattern.GATHER, partition_count=None)).rows_by_worker(Pattern.GATHER)
    assert gathered[-1] == ROWS
    assert sum(gathered) == ROWS
    copied = session.range(3).join(session.from_polars(TABLE), left_on="value", right_on="i")
    assert Seen(session, copied.with_property(input=1, pattern=Pattern.BROADCAST)).rows_by_worker(Pattern.BROADCAST) == [ROWS, ROWS]
    assert Seen(session, base.with_property(pattern=Pattern.ONE_TO_ONE, partition_count=None)).exchange(Pattern.ROUND_ROBIN) == []


def keys_name_what_meets(session):
    base = session.from_polars(TABLE.with_columns(j=pl.col("i") % 5)).repartition(4, by="k")
    assert sum(map(len, parts(session, base, "k"))) == 8
    changed = base.with_property(keys=(pl.col("j"),))
    assert sum(map(len, parts(session, changed, "j"))) == 5
    assert sum(map(len, parts(session, changed, "k"))) > 8


def order_names_the_ranges(session):
    base = session.from_polars(TABLE).repartition(2).with_property(pattern=Pattern.RANGE_SHUFFLE, order=(SortKey(pl.col("i")),))
    low, high = parts(session, base, "i")
    assert max(low) < min(high)
    high, low = parts(session, base.with_property(order=(SortKey(pl.col("i"), descending=True),)), "i")
    assert max(low) < min(high)


def function_names_the_partition(session):
    base = session.from_polars(TABLE).repartition(2, partitioner=lambda df: df["k"].to_numpy() % 2)
    assert Seen(session, base).rows_by_worker(Pattern.USER_SHUFFLE) == [ROWS // 2, ROWS // 2]
    other = base.with_property(function=lambda df: (df["k"].to_numpy() == 7).astype("int64"))
    assert Seen(session, other).rows_by_worker(Pattern.USER_SHUFFLE) == [ROWS // 8, ROWS - ROWS // 8]


def columns_are_what_a_compiled_partitioner_gets(session):
    base = session.from_polars(TABLE).repartition(2, partitioner=lambda value: 1 if value >= 4 else 0, columns=["k"])
    assert Seen(session, base).rows_by_worker(Pattern.USER_SHUFFLE) == [ROWS // 2, ROWS // 2]
    assert Seen(session, base.with_property(columns=("i",))).rows_by_worker(Pattern.USER_SHUFFLE) == [4, ROWS - 4]


def partition_count_is_the_number_of_partitions(session):
    for count in (3, 11):
        seen = Seen(session, session.from_polars(TABLE).repartition(by="k").with_property(partition_count=count))
        assert [e.partitions for e in seen.of(records.ExchangeStarted) if e.pattern == Pattern.HASH_SHUFFLE.value] == [count]


def ordered_is_by_source_task_else_by_arrival(session):
    def slow_first(df):
        if df["i"][0] == 0:
            time.sleep(0.15)
        return df

    base = session.from_polars(TABLE).map_batches(slow_first, schema=TABLE.schema).repartition(1)
    assert base.collect()["i"].is_sorted()
    assert base.with_property(ordered=False).collect()["i"][0] != 0


def data_flow_pull_balances_a_skewed_shuffle(session):
    base = session.from_polars(TABLE).repartition(16, by="hot")
    pushed = Seen(session, base.with_property(data_flow=DataFlow.PUSH))
    pulled = Seen(session, base.with_property(data_flow=DataFlow.PULL))
    assert sum(pushed.rows_by_worker(Pattern.HASH_SHUFFLE)) == sum(pulled.rows_by_worker(Pattern.HASH_SHUFFLE)) == ROWS
    assert max(pulled.rows_by_worker(Pattern.HASH_SHUFFLE)) < max(pushed.rows_by_worker(Pattern.HASH_SHUFFLE))
    assert len(pulled.result.stages) == len(pushed.result.stages) + 1


def data_store_scratch_writes_blocks_at_once(session):
    base = session.from_polars(TABLE).filter(pl.col("k") > 2).with_columns(x=pl.col("i") * 2)
    assert not Seen(session, base).of(records.SpillWritten)
    written = Seen(session, base.with_property(data_store=DataStore.SCRATCH)).of(records.SpillWritten)
    assert sum(e.resident_bytes for e in written) > 10_000
    for shuffled in (session.from_polars(TABLE).repartition(4, by="k"), session.from_polars(TABLE).repartition(4)):  # what travels waits there too
        assert sum(e.resident_bytes for e in Seen(session, shuffled.with_property(data_store="scratch")).of(records.SpillWritten)) > 10_000


def persistence_keep_frees_at_the_end_only(session):
    def freed(persistence):
        dataset = session.from_polars(TABLE).repartition(4, by="k").with_property(persistence=persistence).sort("i")
        seen = Seen(session, dataset)
        edge = next(e.edge for e in seen.of(records.ExchangeStarted) if e.pattern == Pattern.HASH_SHUFFLE.value)
        return [message for message in seen.messages if isinstance(message, messages.CloseExchange) and message.edge == edge]

    assert len(freed(Persistence.DISCARD)) >= 1
    assert freed(Persistence.KEEP) == []


def compression_makes_fewer_bytes_travel(session):
    def sent(codec):
        seen = Seen(session, session.from_polars(TABLE).repartition(4, by="k").with_property(compression=codec))
        return sum(e.bytes_sent for e in seen.exchange(Pattern.HASH_SHUFFLE))

    assert sent("zstd") < sent("lz4") < sent("none")


def shared_memory_is_read_in_place(session):
    def in_place(transport):
        shuffled = session.from_polars(TABLE).repartition(2, by="k").with_property(transport=transport)
        return [e.bytes_in_place for _ in range(2) for e in Seen(session, shuffled).exchange(Pattern.HASH_SHUFFLE)]  # the first offers the memory

    assert any(in_place("shared memory"))
    assert not any(in_place("chunks"))


def combiner_makes_fewer_rows_travel(session):
    def travelled(combiner):
        grouped = session.from_polars(TABLE).group_by("k").agg(pl.col("i").sum()).with_property(combiner=combiner)
        return sum(e.rows_received for e in Seen(session, grouped).exchange(Pattern.HASH_SHUFFLE))

    assert travelled(False) == ROWS
    assert travelled(True) <= 8 * 4


# -- vertices ---------------------------------------------------------------------------------------------------------------------------------------


def parallelism_is_the_number_of_source_tasks(session):
    for count in (1, 7):
        seen = Seen(session, session.from_polars(TABLE).with_property(parallelism=count))
        assert [r.tasks for r in seen.result.stages] == [count]


def slots_limit_how_many_tasks_run_at_once(session):
    def most_at_once(slots):
        _running.clear()
        _most.clear()
        dataset = session.from_polars(TABLE).with_property(parallelism=8, slots=slots, placement=(0,))
        dataset.foreach_partition(_count_running)
        return max(_most)

    assert most_at_once(1) == 2
    assert most_at_once(2) == 1


_running: set[int] = set()
_most: list[int] = []


def _count_running(df):
    """Shipped by name: in-process workers are threads of this process and find these lists."""
    _running.add(threading.get_ident())
    _most.append(len(_running))
    time.sleep(0.02)
    _running.discard(threading.get_ident())


def memory_bytes_are_reserved_while_a_task_runs(session):
    def peak(size):
        seen = Seen(session, session.from_polars(TABLE).with_property(memory_bytes=size))
        return max(e.peak_memory_bytes for e in seen.of(records.TaskFinished))

    assert peak(50 << 20) >= 50 << 20 > peak(None)


def placement_names_the_workers(session):
    a_strategy_may_place_too(session)
    for placement, ranks in (((0,), {1}), ((1,), {2}), (None, {1, 2})):
        seen = Seen(session, session.from_polars(TABLE).with_property(parallelism=8, placement=placement))
        assert {e.worker for e in seen.of(records.TaskFinished)} == ranks


def a_strategy_may_place_too(session):
    seen = Seen(session, session.from_polars(TABLE).with_property(parallelism=4, placement="round_robin"))
    assert [e.worker for e in sorted(seen.of(records.TaskFinished), key=lambda e: e.task)] == [1, 2, 1, 2]


def resources_limit_how_many_tasks_run_at_once(session):
    """The two workers of one process share its cores: a task that needs all of a worker's has no other beside it."""
    cores = session._master.resources[session._master.worker_ranks[0]].cores

    def most_at_once(resources):
        _running.clear()
        _most.clear()
        session.from_polars(TABLE).with_property(parallelism=8, resources=resources, placement=(0,)).foreach_partition(_count_running)
        return max(_most)

    assert most_at_once(None) == 2
    assert most_at_once({"cores": cores}) == 1


def most_bytes_plans_again_what_was_guessed_too_small(_):
    """A join of 600 equal keys with 600 is guessed to have 600 rows, and has 360,000."""
    same_keys = pl.DataFrame({"k": [7] * 600, "v": range(600)})
    big = pl.DataFrame({"k": [7] + [0] * 99_999, "w": range(100_000)})
    with InProcessSession(workers=2, broadcast_threshold_bytes=200_000, progress="off") as session:
        failed: list[str] = []
        session.events.subscribe(lambda event: failed.append(event.error) if isinstance(event, records.ActionFailed) else None)
        one, other, more = (session.from_polars(table) for table in (same_keys, same_keys, big))
        joined = one.join(other, on="k").join(more, on="k")
        assert joined.explain().count("<- broadcast") == 2  # the first join has a bound, the second a guess
        for _ in range(2):
            assert joined.select(pl.len(), pl.col("v_right").sum()).collect().row(0) == (360_000, 600 * sum(range(600)))
    assert failed == ["WrongGuessError"]  # the second time the plan without guesses is there


EDGE_CASES = {
    "pattern": pattern_names_who_gets_the_rows,
    "keys": keys_name_what_meets,
    "order": order_names_the_ranges,
    "function": function_names_the_partition,
    "columns": columns_are_what_a_compiled_partitioner_gets,
    "partition_count": partition_count_is_the_number_of_partitions,
    "ordered": ordered_is_by_source_task_else_by_arrival,
    "data_flow": data_flow_pull_balances_a_skewed_shuffle,
    "data_store": data_store_scratch_writes_blocks_at_once,
    "persistence": persistence_keep_frees_at_the_end_only,
    "compression": compression_makes_fewer_bytes_travel,
    "transport": shared_memory_is_read_in_place,
    "combiner": combiner_makes_fewer_rows_travel,
    "most_bytes": most_bytes_plans_again_what_was_guessed_too_small,
}
VERTEX_CASES = {
    "parallelism": parallelism_is_the_number_of_source_tasks,
    "slots": slots_limit_how_many_tasks_run_at_once,
    "memory_bytes": memory_bytes_are_reserved_while_a_task_runs,
    "placement": placement_names_the_workers,
    "resources": resources_limit_how_many_tasks_run_at_once,
}


@pytest.mark.parametrize("name", [thorough(name) if name == "columns" else name for name in EDGE_CASES])  # Numba compiles for two seconds
def test_an_edge_property_changes_what_is_seen(session, name):
    EDGE_CASES[name](session)


@pytest.mark.parametrize("name", VERTEX_CASES)
def test_a_vertex_property_changes_what_is_seen(session, name):
    VERTEX_CASES[name](session)


def test_every_property_has_a_case():
    assert {f.name for f in dataclasses.fields(EdgeProperties)} - {"permanent"} == EDGE_CASES.keys()
    assert {f.name for f in dataclasses.fields(VertexProperties)} - {"permanent"} == VERTEX_CASES.keys()


def test_what_a_user_sets_stays():
    with InProcessSession(workers=2, compression="zstd", progress="off") as session:
        base = session.from_polars(TABLE).repartition(4, by="k")
        sizes = [sum(e.bytes_sent for e in Seen(session, d).exchange(Pattern.HASH_SHUFFLE)) for d in (base, base.with_property(compression="none"))]
        assert sizes[0] * 1.5 < sizes[1]


@pytest.mark.thorough
def test_many_partitions_cost_each_task_one_look_at_their_sizes(session, monkeypatch):
    looks = []
    sizes = Exchange.partition_sizes
    monkeypatch.setattr(Exchange, "partition_sizes", lambda exchange: looks.append(1) or sizes(exchange))
    assert session.from_polars(TABLE).repartition(5000).count() == ROWS
    assert len(looks) < 50
