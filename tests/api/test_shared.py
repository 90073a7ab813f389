"""hf.broadcast and hf.accumulator: once a process, once a task, in process at one, two and five workers."""

import gc
import operator

import numpy as np
import polars as pl
import pytest

import hpcflow as hf
from hpcflow.ir import shared_values
from hpcflow.native import ArenaPool
from hpcflow.runtime.shared import dump_value, load_value
from tests.api.oracle import same

INT = {"value": pl.Int64}


def test_a_broadcast_value_is_read_in_every_kind_of_function(session):
    factor, table = hf.broadcast({"by": np.arange(5)}), hf.broadcast(pl.DataFrame({"value": [3], "name": ["three"]}))

    def times(df):
        return df.with_columns(value=pl.col("value") * int(factor.value["by"][4]))

    data = session.range(40)
    assert data.map_batches(times, schema=INT).collect()["value"].sum() == 4 * 780
    assert data.flat_map(lambda row: [{"value": row["value"]}] if row["value"] in table.value["value"] else [], schema=INT).count() == 1
    got = data.bsp(lambda ctx, t, scale: times(t) * scale.value, schema=INT, arguments={"scale": hf.broadcast(2)}).collect()
    assert got["value"].sum() == 8 * 780


def test_a_value_is_pickled_once_and_there_once_for_all_tasks_and_actions(one_session):
    value = _Counted()
    shared = hf.broadcast(value)
    for _ in range(3):
        assert one_session.range(50).repartition(9).map_batches(lambda df: df.with_columns(value=shared.value.same()), schema=INT).count() == 50
    assert _Counted.pickled == 1 and _Counted.loaded == 1
    shared.unpersist()
    assert shared.key not in shared_values._values
    assert one_session.range(5).map_batches(lambda df: df.with_columns(value=shared.value.same()), schema=INT).count() == 5
    assert _Counted.pickled == 2


class _Counted:
    pickled = loaded = 0

    def same(self):
        return pl.col("value")

    def __reduce__(self):
        _Counted.pickled += 1
        return (_load, ())


def _load():
    _Counted.loaded += 1
    return _Counted()


def test_a_value_that_the_program_drops_leaves_the_workers(one_session):
    shared = hf.broadcast(np.zeros(10))
    key = shared.key
    one_session.range(5).foreach_partition(lambda df, shared=shared: shared.value.sum())
    assert key in shared_values._values
    one_session._plans._kept.clear()
    del shared
    gc.collect()
    assert key not in shared_values._values


def test_arrays_and_tables_travel_beside_the_pickle_and_come_read_only():
    numbers = np.arange(100_000.0)
    table = pl.DataFrame({"a": range(50_000), "s": ["text"] * 50_000, "e": pl.Series(["x", "y"] * 25_000, dtype=pl.Enum(["y", "x"]))})
    arrow = table.select("a").to_arrow()
    blob, buffers = dump_value({"numbers": numbers, "table": table, "arrow": arrow}, ArenaPool())
    assert len(blob) < 4000 and sum(b.nbytes for b in buffers) > numbers.nbytes + 50_000 * 8 * 2
    there = load_value(blob, buffers)
    assert there["numbers"].__array_interface__["data"] == (numbers.__array_interface__["data"][0], True)
    same(there["table"], table)
    assert there["arrow"].equals(arrow)
    with pytest.raises(ValueError):
        there["numbers"][0] = 1


def test_what_cannot_travel_is_named(one_session):
    with pytest.raises(hf.UnpicklableError, match=r"hf.broadcast: a generator"):
        shared = hf.broadcast(x for x in ())
        one_session.range(3).foreach_partition(lambda df: shared.value)
    assert one_session.range(3).count() == 3


def test_an_accumulator_counts_each_task_once_in_task_order(session):
    rows, order = hf.accumulator(), hf.accumulator((), operator.add)

    def look(df):
        rows.add(df.height)
        order.add((df["value"].min(),))
        return df

    data = session.range(1000).map_batches(look, schema=INT)
    assert rows.value == 0
    data.count()
    assert rows.value == 1000 and list(order.value) == sorted(order.value)
    data.collect()
    assert rows.value == 2000
    cached = data.cache()
    cached.count(), cached.count()
    assert rows.value == 3000
    session.range(10).bsp(lambda ctx, t: rows.add(1)).count()
    assert rows.value == 3000 + session.workers


def test_what_a_failed_action_added_does_not_count(session):
    seen = hf.accumulator(0)

    def fails(df):
        seen.add(df.height)
        if 999 in df["value"]:
            raise ValueError("late")
        return df

    with pytest.raises(hf.TaskError, match="late"):
        session.range(1000).map_batches(fails, schema=INT).count()
    assert seen.value == 0
    assert session.range(900).map_batches(fails, schema=INT).count() == 900 and seen.value == 900


def test_calling_a_function_for_its_schema_adds_nothing(one_session):
    calls = hf.accumulator(0)

    def count(df):
        calls.add(1)
        return df.with_columns(y=pl.lit(1.5))

    data = one_session.range(4).map_batches(count)
    assert calls.value == 0 and data.count() == 4 and calls.value >= 1


def test_initial_counts_once_and_op_is_the_users(session):
    most = hf.accumulator(17, max)
    session.range(300).foreach_partition(lambda df: most.add(df["value"].max()))
    assert most.value == 299
    start = hf.accumulator(100)
    session.range(300).repartition(7).foreach_partition(lambda df: start.add(df.height))
    assert start.value == 400


def test_reading_in_a_task_and_adding_outside_are_errors_that_say_so(one_session):
    total = hf.accumulator(0)
    with pytest.raises(hf.ConfigError, match="known on the driver, after the action"):
        one_session.range(3).foreach_partition(lambda df: total.value)
    with pytest.raises(hf.ConfigError, match="functions that run on workers"):
        total.add(1)
    with pytest.raises(hf.ConfigError, match="unpersist is for the driver"):
        shared = hf.broadcast(1)
        one_session.range(3).foreach_partition(lambda df: shared.unpersist())


def test_an_accumulator_of_a_workers_own_module_is_refused():
    with pytest.raises(hf.HpcflowError, match="made on its worker"):
        shared_values.merge({"another-process-1": 3})
    shared_values.merge({f"{shared_values.PROCESS}-99999999": 3})  # dropped by the program: nobody can ask for it
