"""A loop in the body of another: the same as the loops written out, on any number of workers; what depends on neither state is computed once."""

import gc
import threading
import time

import numpy as np
import polars as pl
import pytest

import hpcflow as hf
from hpcflow.errors import ConfigError, NotConvergedError, TaskError
from hpcflow.events import records
from hpcflow.nested_loops import free_loops, inner_loops
from hpcflow.testing.session import InProcessSession
from tests.api.test_loops import EDGES, STATE, doubled, spread
from tests.thorough import thorough


@pytest.fixture(params=[thorough((1, 1), id="(1, 1)"), pytest.param((2, 2), id="(2, 2)"), thorough((3, 1), id="(3, 1)")])
def session(request):
    workers, threads = request.param
    with InProcessSession(workers=workers, threads=threads, progress="off") as session:
        yield session


@pytest.fixture(scope="module")
def two():
    with InProcessSession(workers=2, threads=1, progress="off") as session:
        yield session


def near(got, wanted):
    got, wanted = got.sort("k"), wanted.sort("k")
    assert got["k"].equals(wanted["k"]) and (got["v"] - wanted["v"]).abs().max() < 1e-9


def test_loops_of_two_levels_are_those_written_out(session):
    """The inner loop starts from the outer state and looks at it too, through a shuffle; edges are looked at on both levels."""
    edges = session.from_polars(EDGES)

    def body(state):
        def step(inner):
            moved = spread(inner, edges)
            return moved.join(state, on="k").select("k", pl.col("v") * 0.5 + pl.col("v_right"))

        return spread(hf.iterate(step, state.with_columns(pl.col("v") + 1), max_iterations=3), edges)

    got = hf.iterate(body, session.from_polars(STATE), max_iterations=2).collect()
    wanted = STATE
    for _ in range(2):
        inner = wanted.with_columns(pl.col("v") + 1)
        for _ in range(3):
            inner = spread(inner, EDGES).join(wanted, on="k").select("k", pl.col("v") * 0.5 + pl.col("v_right"))
        wanted = spread(inner, EDGES)
    near(got, wanted)


def test_both_levels_have_conditions_of_their_own(session):
    seen = []
    unsubscribe = session.events.subscribe(lambda e: seen.append(e) if isinstance(e, records.LoopIteration) else None)

    def body(state):
        grown = hf.iterate(doubled, state, until=pl.col("v").max() > 50, max_iterations=20)
        return grown.with_columns(pl.col("v") / 64), grown.select(top=pl.col("v").max())

    state, metrics = hf.iterate(body, session.from_polars(STATE), until=lambda new, old: _close(new, old), max_iterations=40)
    got, top = state.collect(), metrics.collect().item()
    wanted = STATE
    inner_rounds = 0
    while True:
        inner = wanted.with_columns(pl.col("v") * 2)
        inner_rounds += 1
        while inner["v"].max() <= 50:
            inner, inner_rounds = inner.with_columns(pl.col("v") * 2), inner_rounds + 1
        new = inner.with_columns(pl.col("v") / 64)
        done = (new["v"] - wanted["v"]).abs().max() < 1e-3
        wanted = new
        if done:
            break
    near(got, wanted)
    assert top == inner["v"].max() and sum("20 times" in e.loop for e in seen) == inner_rounds
    unsubscribe()


def _close(new, old):
    return new.join(old, on="k").select((pl.col("v") - pl.col("v_right")).abs().max() < 1e-3)


def test_loops_after_each_other_and_three_levels(session):
    edges = session.from_polars(EDGES)

    def inmost(state):
        return hf.iterate(lambda s: s.with_columns(pl.col("v") + 1), state, max_iterations=2)

    def body(state):
        first = hf.iterate(lambda s: doubled(inmost(s)), state, max_iterations=2)
        second = hf.iterate(lambda s: s.join(first, on="k").select("k", pl.col("v") + pl.col("v_right")), spread(state, edges), max_iterations=2)
        return first.join(second, on="k").select("k", pl.col("v") - pl.col("v_right") / 100)

    got = hf.iterate(body, session.from_polars(STATE), max_iterations=2).collect()
    wanted = STATE
    for _ in range(2):
        first = wanted
        for _ in range(2):
            first = first.with_columns((pl.col("v") + 2) * 2)
        second = spread(wanted, EDGES)
        for _ in range(2):
            second = second.join(first, on="k").select("k", pl.col("v") + pl.col("v_right"))
        wanted = first.join(second, on="k").select("k", pl.col("v") - pl.col("v_right") / 100)
    near(got, wanted)


def test_a_bsp_step_loops_within_the_body(session):
    """The inner loop is one step on the workers; the outer one is dataflow."""

    def halve(ctx, df):
        top = np.zeros(1)
        ctx.comm.Allreduce(np.array([df["v"].max() or 0.0]), top, op=ctx.MPI.MAX)
        return df.with_columns(pl.col("v") - top[0] / 2)

    def body(state):
        inner = hf.iterate(lambda s: s.bsp(halve, schema=STATE.schema), state, until=pl.col("v").max() < 0.5, max_iterations=30)
        return inner.with_columns(pl.col("v") + pl.col("k"))

    got = hf.iterate(body, session.from_polars(STATE), max_iterations=3).collect()
    wanted = STATE
    for _ in range(3):
        while True:
            wanted = wanted.with_columns(pl.col("v") - pl.col("v").max() / 2)
            if wanted["v"].max() < 0.5:
                break
        wanted = wanted.with_columns(pl.col("v") + pl.col("k"))
    near(got, wanted)


_COUNTED = []


def _counted(df):
    import tests.api.test_nested_loops as here

    here._COUNTED.append(df.height)
    return df


@pytest.mark.thorough
def test_what_depends_on_no_state_is_computed_once_for_both_levels(two):
    calls = two.from_polars(EDGES).map_batches(_counted, schema=EDGES.schema)
    _COUNTED.clear()
    gc.collect()
    before = set(two._master.cached())

    def body(state):
        return hf.iterate(lambda s: spread(s, calls), state, max_iterations=3)

    state = hf.iterate(body, two.from_polars(STATE), max_iterations=3)
    assert state.count() == 12 and sum(_COUNTED) == EDGES.height
    _COUNTED.clear()

    def mixed(state):
        """The edges meet the outer state in what the inner loop keeps."""
        weighted = calls.join(state, left_on="src", right_on="k").select("src", "dst", w="v")
        return hf.iterate(lambda s: _weighted(s, weighted), state, max_iterations=3)

    second = hf.iterate(mixed, two.from_polars(STATE), max_iterations=3)
    assert second.count() == 12 and sum(_COUNTED) == EDGES.height
    del state, second
    gc.collect()
    assert set(two._master.cached()) == before


def _weighted(state, weighted):
    return state.join(weighted, left_on="k", right_on="src").group_by("dst").agg((pl.col("v") * pl.col("w")).mean().alias("v")).rename({"dst": "k"})


def test_a_loop_that_needs_nothing_of_the_loop_around_runs_once_before_it(two):
    ran = []
    unsubscribe = two.events.subscribe(lambda e: ran.append(e.loop) if isinstance(e, records.LoopIteration) else None)

    def body(state):
        table = hf.iterate(doubled, two.from_polars(STATE), max_iterations=2)
        return state.join(table, on="k").select("k", pl.col("v") + pl.col("v_right"))

    got = hf.iterate(body, two.from_polars(STATE), max_iterations=3).collect()
    near(got, STATE.with_columns(pl.col("v") * 13))
    assert ran == ["2 times"] * 2 + ["3 times"] * 3
    unsubscribe()


def test_the_levels_of_loops_are_told_apart(two):
    found = {}

    def body(state):
        found["free"] = hf.iterate(doubled, two.from_polars(STATE), max_iterations=2)

        def inner_body(inner):
            found["inmost"] = hf.iterate(doubled, inner, max_iterations=2)
            found["beside"] = hf.iterate(doubled, state, max_iterations=2)
            return found["inmost"].join(found["beside"], on="k").join(found["free"], on="k", suffix="_free").select("k", "v")

        found["inner"] = hf.iterate(inner_body, state, max_iterations=2)
        return found["inner"]

    outer = hf.iterate(body, two.from_polars(STATE), max_iterations=2)

    def loop(dataset):
        return dataset._vertex.operator.loop

    assert free_loops(loop(outer)) == [loop(found["free"])]
    assert inner_loops(loop(outer)) == [loop(found["beside"]), loop(found["inner"])]
    assert inner_loops(loop(found["inner"])) == [loop(found["inmost"])]
    assert outer.count() == 12


def test_a_loop_within_a_body_that_does_not_converge_is_an_error_and_nothing_stays(two):
    gc.collect()
    before = set(two._master.cached())

    def body(state):
        return hf.iterate(doubled, state.with_columns(pl.col("v") + 1), until=pl.col("v").max() < 0, max_iterations=3)

    with pytest.raises(NotConvergedError, match="after 3 iterations") as error:
        hf.iterate(body, two.from_polars(STATE), max_iterations=2).collect()
    assert error.value.state.sort("k").collect().equals(STATE.with_columns((pl.col("v") + 1) * 8))
    del error
    gc.collect()
    assert set(two._master.cached()) == before
    on = hf.iterate(
        lambda s: hf.iterate(doubled, s, until=pl.col("v").max() < 0, max_iterations=3, on_limit="return"), two.from_polars(STATE), max_iterations=2
    )
    near(on.collect(), STATE.with_columns(pl.col("v") * 64))


@pytest.mark.thorough
def test_a_failing_body_within_a_body_leaves_nothing_behind(two):
    gc.collect()
    before = set(two._master.cached())

    def fails(df):
        raise ValueError("within")

    def body(state):
        return hf.iterate(lambda s: s.map_batches(fails, schema=STATE.schema), state, max_iterations=3)

    with pytest.raises(TaskError, match="within"):
        hf.iterate(body, two.from_polars(STATE), max_iterations=2).collect()
    gc.collect()
    assert set(two._master.cached()) == before and two.range(5).count() == 5


def test_a_loop_around_writes_checkpoints_and_the_one_within_may_not(two, tmp_path):
    def body(state):
        return hf.iterate(doubled, state, max_iterations=2)

    first = hf.iterate(body, two.from_polars(STATE), max_iterations=2, checkpoint=tmp_path / "a", checkpoint_every=1)
    assert first.count() == 12
    more = hf.iterate(body, two.from_polars(STATE), max_iterations=3, checkpoint=tmp_path / "a", checkpoint_every=1, resume=True)
    near(more.collect(), STATE.with_columns(pl.col("v") * 64))

    def writes(state):
        return hf.iterate(doubled, state, max_iterations=2, checkpoint=tmp_path / "b")

    with pytest.raises(ConfigError, match="give checkpoint= to the loop around it"):
        hf.iterate(writes, two.from_polars(STATE), max_iterations=2).collect()


def test_explain_shows_the_loop_within(two):
    edges = two.from_polars(EDGES)
    text = hf.iterate(lambda s: hf.iterate(lambda i: spread(i, edges), s, max_iterations=5), two.from_polars(STATE), max_iterations=7).explain()
    around, within = text.split("in each iteration, first")
    assert "loop: 7 times" in around and "loop: 5 times" in within and "once, before the first iteration" in within


def test_plans_of_loops_within_are_made_and_sent_once(two, monkeypatch):
    sent = []
    send_to = two._cluster.master.send_to
    monkeypatch.setattr(two._cluster.master, "send_to", lambda ranks, message: (sent.append(type(message).__name__), send_to(ranks, message))[1])
    state = hf.iterate(lambda s: hf.iterate(doubled, s, max_iterations=3), two.from_polars(STATE), max_iterations=6)
    assert state.count() == 12
    assert sent.count("KeepPlan") <= 6  # the state, the start of the loop within, its iteration, that of the loop around, the count


@pytest.mark.thorough
def test_a_cache_of_the_state_around_is_each_times_own(two):
    gc.collect()
    before = set(two._master.cached())

    def body(state):
        start = state.with_columns(pl.col("v") + 1).cache()
        return hf.iterate(lambda s: s.join(start, on="k").select("k", pl.col("v") + pl.col("v_right")), start, max_iterations=2)

    got = hf.iterate(body, two.from_polars(STATE), max_iterations=3).collect()
    wanted = STATE
    for _ in range(3):
        wanted = wanted.with_columns((pl.col("v") + 1) * 3)
    near(got, wanted)
    gc.collect()
    assert set(two._master.cached()) == before


def test_cancelling_ends_loops_of_all_levels_and_leaves_nothing(two):
    gc.collect()
    before = set(two._master.cached())
    begun = threading.Event()
    unsubscribe = two.events.subscribe(lambda e: begun.set() if isinstance(e, records.LoopIteration) and e.iteration == 2 else None)
    endless = hf.iterate(lambda s: hf.iterate(doubled, s, max_iterations=100_000), two.from_polars(STATE), max_iterations=100_000)
    future = endless.submit("count")
    assert begun.wait(20) and future.cancel()
    assert future.wait_released(20)
    unsubscribe()
    deadline = time.monotonic() + 10
    while set(two._master.cached()) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(two._master.cached()) == before and two.range(3).count() == 3


def test_what_a_loop_keeps_of_the_loop_around_is_filled_again_when_what_it_reads_was_unpersisted(two):
    rows = two.from_polars(STATE).cache()
    assert rows.count() == 12

    def body(state):
        both = hf.concat([rows, state])
        return hf.iterate(lambda inner: hf.concat([inner, both]), state, max_iterations=2)

    unsubscribe = two.events.subscribe(lambda event: rows.unpersist() if isinstance(event, records.LoopIteration) else None)
    try:
        assert hf.iterate(body, two.from_polars(STATE), max_iterations=3).count() == 636  # 12, then three times 3 n + 24
    finally:
        unsubscribe()
