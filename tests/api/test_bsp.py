"""ds.bsp(function): shares, order, exact types, failures, what moves and what does not; in process, at one, two and five workers."""

import threading
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcflow as hf
from hpcflow.events.log import read_events
from hpcflow.runtime.shares import kept_blocks, lay_out
from hpcflow.runtime.task_making import StoredBlock
from hpcflow.shuffle.partitioners import SharePartitioner
from hpcflow.testing.session import InProcessSession
from tests.api.oracle import same

WHERE = {"rank": pl.Int64, "rows": pl.Int64, "first": pl.Int64, "total": pl.Int64}


def where(ctx, table):
    """One row a worker: its rows, the first of them, and the sum over all workers."""
    total = ctx.comm.allreduce(table["value"].sum(), op=ctx.MPI.SUM)
    first = table["value"][0] if table.height else None
    return pl.DataFrame({"rank": [ctx.rank], "rows": [table.height], "first": [first], "total": [total]}, schema=WHERE)


def moved(path, number):
    """(bytes sent over edges that deal out shares, exchanges of that kind) in the session's action of this number, from 1."""
    events = list(read_events(path))
    action = [event.action for event in events if event.kind == "action_started"][number - 1]
    events = [event for event in events if getattr(event, "action", None) == action]
    steps = {event.step for event in events if event.kind == "exchange_started" and event.pattern == "shares"}
    return sum(event.bytes_sent for event in events if event.kind == "exchange_finished" and event.step in steps), len(steps)


def test_each_worker_gets_its_contiguous_share_and_rows_come_back_in_worker_order(session):
    table = pl.DataFrame({"value": range(1003), "s": [f"text {i % 7}" for i in range(1003)]})
    got = session.from_polars(table).bsp(where, schema=WHERE).collect()
    assert got["rank"].to_list() == list(range(session.workers)) and set(got["total"]) == {1003 * 501}
    assert got["first"].to_list() == [0, *got["rows"].cum_sum().to_list()[:-1]]
    assert got["rows"].max() <= 1.1 * -(-1003 // session.workers) and got["rows"].sum() == 1003
    same(session.from_polars(table).bsp(lambda ctx, t: t, schema=table.schema).collect(), table)


def test_rows_of_any_program_keep_their_order(session):
    rows = session.range(500).with_columns(k=pl.col("value") % 13)
    chains = {
        "filter": rows.filter(pl.col("value") > 450),
        "sort": rows.sort("k", "value", descending=True),
        "group": rows.group_by("k").agg(pl.col("value").sum()).sort("k"),
        "head": rows.head(40),
        "concat": hf.concat([rows.tail(9), rows.head(3)]),
        "empty": rows.filter(pl.col("value") < 0),
    }
    for name, chain in chains.items():
        want = chain.collect()
        got = chain.bsp(lambda ctx, t: t.with_columns(rank=ctx.rank), schema={**chain.schema, "rank": pl.Int32}).collect()
        assert got.drop("rank").equals(want.select(got.drop("rank").columns)), name
        counts = [got.filter(pl.col("rank") == rank).height for rank in range(session.workers)]
        assert max(counts) <= 1.1 * -(-want.height // session.workers), name


def test_several_inputs_come_as_shares_of_their_own(session):
    a, b = session.range(100), session.range(7, name="other")
    got = a.bsp(
        lambda ctx, x, y, scale: {"rank": [ctx.rank], "a": [x["value"].size * scale], "b": [y["other"].size]},
        inputs=[b],
        schema={"rank": pl.Int64, "a": pl.Int64, "b": pl.Int64},
        format="numpy",
        arguments={"scale": 10},
    ).collect()
    assert got["a"].sum() == 1000 and got["b"].sum() == 7
    twice = a.bsp(lambda ctx, x, y: pl.DataFrame({"equal": [x.equals(y)]}), inputs=[a], schema={"equal": pl.Boolean}).collect()
    assert twice["equal"].all()


def test_partitions_of_a_repartition_stay_with_their_owner(session):
    rows = session.range(300).with_columns(k=pl.col("value") % 11).repartition(by="k")
    keys = {"rank": pl.Int64, "k": pl.Int64}
    for data in (rows, rows.with_columns(z=pl.lit(1)), rows.cache()):
        got = data.bsp(lambda ctx, t: t.select("k").unique().with_columns(rank=pl.lit(ctx.rank, pl.Int64)).select("rank", "k"), schema=keys).collect()
        assert sorted(got["k"]) == list(range(11))
        assert "deal out" not in data.bsp(where, schema=WHERE).explain()


def test_a_broadcast_input_is_whole_on_every_worker(session):
    step = session.range(50).bsp(lambda ctx, a, b: {"n": [len(b)]}, inputs=[session.range(9)], schema={"n": pl.Int64})
    assert step.with_property(input=1, pattern="broadcast").collect()["n"].to_list() == [9] * session.workers


def test_formats_come_and_go(session):
    table = pl.DataFrame({"x": [1.5, 2.5, 4.0], "s": ["a", "b", None]})
    for format, kind in {"polars": "DataFrame", "arrow": "Table", "numpy": "dict"}.items():

        def check(ctx, t, kind=kind):
            assert type(t).__name__ == kind
            return t

        same(session.from_polars(table).bsp(check, schema=table.schema, format=format).collect(), table)


def test_bare_arrays_go_in_and_come_out(session):
    points = pl.DataFrame({"x": np.arange(50.0), "y": np.arange(50.0) ** 2, "n": range(50)})
    data = session.from_polars(points)

    def scaled(ctx, xy, n):
        assert xy.shape == (n.size, 2) and n.dtype == np.int64 and xy.flags.c_contiguous
        total = np.zeros(2)
        ctx.comm.Allreduce(xy.sum(axis=0), total, op=ctx.MPI.SUM)
        return xy / total

    got = data.select("x", "y").bsp(scaled, inputs=[data.select("n")], schema={"a": pl.Float64, "b": pl.Float64}, format="array").collect()
    same(got, points.select(a=pl.col("x") / pl.col("x").sum(), b=pl.col("y") / pl.col("y").sum()))
    one = data.select("n").bsp(lambda ctx, n: n * 2, schema={"twice": pl.Int64}, format="array").collect()
    same(one, points.select(twice=pl.col("n") * 2))
    column = data.select("n").bsp(lambda ctx, n: n[:, None] * 2.0, schema={"twice": pl.Float64}, format="array").collect()
    same(column, points.select(twice=pl.col("n") * 2.0))
    vectors = data.select("x", "y").bsp(lambda ctx, xy: xy, schema={"p": pl.Array(pl.Float64, 2)}, format="array")
    same(vectors.collect(), points.select(p=pl.concat_arr("x", "y")))
    back = vectors.bsp(lambda ctx, p: p[:, 1], schema={"y": pl.Float64}, format="array").collect()
    same(back, points.select("y"))
    texts = data.bsp(lambda ctx, df: df["n"].cast(pl.String).to_numpy(), schema={"s": pl.String}).collect()
    same(texts, points.select(s=pl.col("n").cast(pl.String)))
    record = np.dtype([("rank", "i8"), ("rows", "f8")])
    named = data.bsp(lambda ctx, df: np.array([(ctx.rank, df.height)], record), schema={"rank": pl.Int64, "rows": pl.Float64}).collect()
    assert named["rows"].sum() == 50 and named.height == session.workers
    same(data.map_batches(lambda xyn: xyn[:, :2], schema={"x": pl.Float64, "y": pl.Float64}, format="array").collect(), points.select("x", "y"))


@pytest.mark.parametrize(
    ("result", "schema", "message"),
    [
        (np.zeros((3, 2)), None, r"array float64\(3, 2\), whose columns have no names: pass bsp\(..., schema=\{'column 0': ..., 'column 1': ...\}\)"),
        (np.zeros((3, 2)), {"a": pl.Float64}, r"array of shape \(3, 2\), and the declared columns are \['a'\]: return an array\[rows\]"),
        (np.zeros(3), {"a": pl.Float64, "b": pl.Float64}, r"return an array\[rows, 2\]"),
        (np.zeros((3, 1, 1)), {"a": pl.Float64}, r"return an array\[rows\]"),
        (np.zeros(3), {"a": pl.Int64}, "returned column 'a' as Float64, declared or inferred was Int64"),
    ],
)
def test_arrays_that_do_not_fit_the_schema_are_refused(one_session, result, schema, message):
    with pytest.raises(hf.SchemaError, match=message):
        one_session.range(3).bsp(lambda ctx, df: result, schema=schema).count()


def test_columns_are_views_of_the_cached_rows_and_read_only():
    SEEN.clear()
    with InProcessSession(workers=1, progress="off") as session:
        data = session.from_numpy({"x": np.arange(1000.0), "n": np.arange(1000)}).cache()
        for _ in range(3):
            data.bsp(_look, format="numpy").count()
        (block,) = next(iter(session._master.caches.values())).blocks
        kept = [store.get_table(block.key) for store in session._cluster.stores if block.key in store._books]
        address = kept[0]["x"].to_numpy(allow_copy=False).__array_interface__["data"]
    assert len(SEEN) == 3 and len(set(SEEN)) == 1 and SEEN[0][0] == address and SEEN[0][0][1] is True


SEEN = []


def _look(ctx, columns):
    """By reference: the list is this process's."""
    SEEN.append((columns["x"].__array_interface__["data"], columns["n"].__array_interface__["data"]))


def test_a_cached_input_is_brought_into_shares_once(tmp_path):
    for workers in (2, 3, 5):
        path = tmp_path / f"{workers}.jsonl"
        with InProcessSession(workers=workers, threads=2, progress="off", event_log=str(path), target_split_bytes=800, partitions_per_worker=3) as s:
            data = s.range(1000).filter(pl.col("value") % 10 < 9 * (pl.col("value") > 600).cast(pl.Int64)).cache()
            want = data.collect()
            results = [data.bsp(where, schema=WHERE).collect() for _ in range(3)]
            assert data.collect().equals(want) and all(result.equals(results[0]) for result in results)
            assert max(results[0]["rows"]) <= 1.1 * -(-want.height // workers)
            held = [len(store._books) for store in s._cluster.stores]
            data.unpersist()
            for _ in range(200):  # the message to drop blocks is on its way
                left = [len(store._books) for store in s._cluster.stores]
                if sum(left) == 0:
                    break
                time.sleep(0.01)
            assert data.collect().equals(want)
        assert sum(held) == workers and sum(left) == 0
        first, second = moved(path, 2), moved(path, 3)
        assert first[0] > 0 and second == (0, 0), workers


def test_shares_that_lie_right_are_not_moved(tmp_path):
    path = tmp_path / "log.jsonl"
    with InProcessSession(workers=3, progress="off", event_log=str(path)) as s:
        s.range(999).with_columns(y=pl.col("value") * 2).bsp(where, schema=WHERE).count()
        s.from_polars(pl.DataFrame({"value": range(999)})).bsp(where, schema=WHERE).count()
    assert moved(path, 1) == moved(path, 2) == (0, 0)


def test_a_failing_function_is_one_error_and_the_session_goes_on(session):
    def fails(ctx, table):
        if ctx.rank == ctx.size - 1:
            raise ValueError("of one rank")
        ctx.comm.Barrier()

    for _ in range(2):
        with pytest.raises(hf.TaskError, match="of one rank") as caught:
            session.range(50).bsp(fails).count()
        assert caught.value.rank == session.workers and "bsp" in caught.value.operator and "in fails" in caught.value.remote_traceback
        assert isinstance(caught.value.__cause__, ValueError)
        assert session.range(10).bsp(where, schema=WHERE).count() == session.workers


def test_a_failure_also_ends_waits_in_table_exchanges(one_session):
    def fails(ctx, table):
        if ctx.rank == 1:
            raise ValueError("too early")
        from hpcflow.shuffle.exchange import ExchangeSpec

        spec = ExchangeSpec(ctx.next_step(), owners=tuple(ctx.engine_ranks), sources=tuple(ctx.engine_ranks), schema=table.schema)
        exchange = ctx.exchanges.open(spec)
        exchange.finish()
        exchange.wait()

    with pytest.raises(hf.TaskError, match="too early"):
        one_session.range(50).bsp(fails).count()
    assert one_session.range(3).count() == 3


def test_what_a_function_returns_is_checked_against_the_schema(one_session):
    data = one_session.range(6)
    with pytest.raises(hf.SchemaError, match=r"schema=\{'value': pl.Int64\}"):
        data.bsp(lambda ctx, t: t).count()
    with pytest.raises(hf.SchemaError, match="Float64"):
        data.bsp(lambda ctx, t: t.cast(pl.Float64), schema={"value": pl.Int64}).count()
    with pytest.raises(hf.SchemaError, match="list"):
        data.bsp(lambda ctx, t: [1], schema={"value": pl.Int64}).count()
    assert data.bsp(lambda ctx, t: None).collect().shape == (0, 0)
    assert data.bsp(lambda ctx, t: None, schema={"a": pl.Int8}).collect().schema == {"a": pl.Int8}


def test_wrong_arguments_are_refused_at_their_line(one_session):
    data = one_session.range(6)
    with pytest.raises(hf.ConfigError, match="format is 'csv'"):
        data.bsp(where, format="csv")
    with pytest.raises(hf.ConfigError, match="inputs are datasets, not int"):
        data.bsp(where, inputs=[3])
    with pytest.raises(hf.ConfigError, match="runs on all workers"):
        data.bsp(where, schema=WHERE).with_property(placement=(0,)).count()
    with pytest.raises(hf.ConfigError, match="reads their shares"):
        data.bsp(where, schema=WHERE).with_property(pattern="gather").count()


def test_steps_of_actions_in_flight_are_run_one_at_a_time_in_one_order():
    ORDER.clear()
    with InProcessSession(workers=3, progress="off", step_timeout_s=20) as session:
        actions = [threading.Thread(target=session.range(9).bsp(_note, arguments={"name": n}).count) for n in range(8)]
        for action in actions:
            action.start()
        for action in actions:
            action.join(30)
    assert sorted(ORDER[0]) == list(range(8)) and ORDER[0] == ORDER[1] == ORDER[2]


ORDER = {}


def _note(ctx, table, name):
    ORDER.setdefault(ctx.rank, []).append(name)
    assert ctx.comm.allreduce(name, op=ctx.MPI.MAX) == ctx.comm.allreduce(name, op=ctx.MPI.MIN) == name


def test_the_function_has_a_thread_of_its_own(session):
    threads = session.range(9).bsp(lambda ctx, t: {"name": [threading.current_thread().name]}, schema={"name": pl.String}).collect()
    assert threads["name"].to_list() == [f"hpcflow-bsp-{worker}" for worker in range(session.workers)]


def test_a_context_knows_its_place(session):
    def place(ctx, table):
        ctx.metrics.counter("steps").add()
        assert ctx.scratch.is_dir() and ctx.comm.rank == ctx.rank and ctx.comm.size == ctx.size == len(ctx.engine_ranks)
        return {"rank": [ctx.rank], "size": [ctx.size], "steps": [ctx.next_step() != ctx.next_step()]}

    got = session.range(3).bsp(place, schema={"rank": pl.Int64, "size": pl.Int64, "steps": pl.Boolean}).collect()
    assert got.rows() == [(rank, session.workers, True) for rank in range(session.workers)]


def test_ranks_that_wait_for_each_other_for_ever_are_a_timeout_that_names_them(capfd):
    def crossed(ctx, table):
        if ctx.rank == 0:
            ctx.comm.recv(source=1)
        else:
            ctx.comm.recv(source=0)

    with InProcessSession(workers=2, progress="off", step_timeout_s=0.5) as session:
        started = time.monotonic()
        with pytest.raises(hf.StepTimeoutError):
            session.range(4).bsp(crossed).count()
        assert time.monotonic() - started < 8
        assert session.range(4).bsp(where, schema=WHERE).count() == 2
    assert "in crossed" in capfd.readouterr().err


def test_the_plan_says_that_all_workers_run_at_once_and_nothing_is_fused_before_it(one_session):
    step = one_session.range(9).filter(pl.col("value") > 3).bsp(where, schema=WHERE).filter(pl.col("rank") == 0)
    text = step.explain()
    assert "on all 2 workers at once" in text and "bsp" in text
    stages = [line.split("  ", 1)[1] for line in text.splitlines() if line.strip().startswith("S")]
    assert any(line.strip().endswith("bsp") for line in stages)
    optimized = text.split("optimized")[1].split("stages")[0]
    assert optimized.index("filter") < optimized.index("bsp") < optimized.rindex("filter")


def test_equal_steps_are_merged_only_when_said_to_be_deterministic(one_session):
    data = one_session.range(4)

    def vertices(**options):
        a, b = (data.bsp(where, schema=WHERE, **options) for _ in range(2))
        return hf.concat([a, b]).explain().split("optimized")[1].split("stages")[0].count("bsp#")

    assert vertices() == 2
    assert (
        vertices(deterministic=True) in (1, 2)
        and "(above)" in hf.concat([data.bsp(where, schema=WHERE, deterministic=True) for _ in range(2)]).explain().split("optimized")[1]
    )


def test_results_go_on_as_any_dataset(session, tmp_path):
    step = session.range(100).bsp(where, schema=WHERE)
    assert step.filter(pl.col("rank") > 0).count() == session.workers - 1
    assert step.join(step, on="rank").group_by("total").agg(pl.len()).collect()["len"].to_list() == [session.workers]
    kept = step.cache()
    assert kept.collect().equals(kept.collect())
    step.write_parquet(tmp_path / "out")
    same(pl.read_parquet(tmp_path / "out" / "*.parquet"), step.collect(), by="rank")
    again = step.bsp(lambda ctx, t: t, schema=WHERE).bsp(lambda ctx, t: t, schema=WHERE)
    assert again.collect().equals(step.collect())


# -- the pure parts ---------------------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), max_size=8), st.lists(st.integers(0, 60), max_size=5))
def test_a_share_partitioner_cuts_at_global_positions(bounds, blocks):
    bounds = sorted(bounds)
    partitioner, start, ids = SharePartitioner(bounds), 0, []
    for rows in blocks:
        ids += partitioner.partition_ids(pl.DataFrame({"a": range(rows)}), start).tolist()
        start += rows
    assert ids == [sum(bound <= position for bound in bounds) for position in range(start)]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 50)), max_size=8), st.booleans())
def test_layouts_keep_every_row_and_move_only_what_lies_wrong(blocks, moves):
    stored = [StoredBlock(index, rank, ("b", index), rows, rows) for index, (rank, rows) in enumerate(blocks)]
    layout = lay_out(stored, (1, 2, 3), moves)
    if not moves:
        assert layout.bounds is None
    if layout.bounds is not None:
        assert len(layout.bounds) == 2 and list(layout.bounds) == sorted(layout.bounds)
    elif moves:
        assert [b.rank for b in stored] == sorted(b.rank for b in stored)
    unchanged = kept_blocks(layout, (1, 2, 3), {})
    assert unchanged is None


def test_shares_larger_than_the_budget_spill_and_come_back(tmp_path):
    rows = 60_000
    table = pl.DataFrame({"value": range(rows), "s": ["some text that takes room"] * rows})
    with InProcessSession(workers=2, progress="off", memory_budget=1_500_000, scratch=str(tmp_path), target_split_bytes=100_000) as session:
        data = session.from_polars(table).filter(pl.col("value") % 7 > 0).cache()
        want = table.filter(pl.col("value") % 7 > 0)
        for _ in range(2):
            assert data.bsp(lambda ctx, t: t, schema=table.schema).collect().equals(want)
        assert sum(store.statistics().spills for store in session._cluster.stores) > 0
        assert data.bsp(where, schema=WHERE).collect()["rows"].sum() == want.height


def test_columns_that_only_the_function_reads_are_not_dropped(one_session):
    wide = one_session.range(20).with_columns(a=pl.col("value") * 2, b=pl.lit("x"))
    step = wide.bsp(lambda ctx, t: t.select("value", seen=pl.lit(",".join(t.columns))), schema={"value": pl.Int64, "seen": pl.String})
    assert step.select("value").collect()["value"].to_list() == list(range(20))
    assert set(step.select("seen").collect()["seen"]) == {"value,a,b"}


def test_figures_of_a_run_are_shown(one_session):
    text = one_session.range(50).bsp(where, schema=WHERE).explain(analyze=True)
    assert "2 tasks on 2 workers" in text.split("on all 2 workers at once")[1]


def test_a_cancelled_step_ends_its_waits_and_the_session_goes_on():
    def waits(ctx, table):
        if ctx.rank == 0:
            ctx.comm.recv(source=1)  # nobody sends
        ctx.comm.Barrier()

    with InProcessSession(workers=3, progress="off", step_timeout_s=30) as session:
        future = session.range(9).bsp(waits).submit("count")
        queued = session.range(9).bsp(where, schema=WHERE).submit("count")
        time.sleep(0.1)
        started = time.monotonic()
        assert future.cancel()
        with pytest.raises(hf.ActionCancelledError):
            future.result()
        assert queued.result() == 3 and time.monotonic() - started < 10
        assert session.range(9).bsp(where, schema=WHERE).count() == 3
