"""Loops that an action needs together and that run equally often are run as one: the same results, one action an iteration."""

import gc

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.events import records
from hpcflow.fused_loops import groups_of
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


def added(state):
    return state.with_columns(pl.col("v") + 1)


def test_loops_that_run_together_give_what_they_give_alone(session):
    seen = []
    unsubscribe = session.events.subscribe(lambda e: seen.append(e) if isinstance(e, records.LoopIteration) else None)
    edges, start = session.from_polars(EDGES), session.from_polars(STATE)
    first = hf.iterate(lambda s: spread(s, edges), start, max_iterations=4)
    second = hf.iterate(lambda s: {"a": doubled(s["a"]), "b": added(s["b"])}, {"a": start, "b": start}, max_iterations=4)
    got = first.join(second["a"], on="k", suffix="_a").join(second["b"], on="k", suffix="_b").sort("k").collect()
    wanted = STATE
    for _ in range(4):
        wanted = spread(wanted, EDGES)
    wanted = wanted.join(STATE, on="k").with_columns(pl.col("v_right") * 16, v_b=pl.col("v_right") + 4).sort("k")
    assert got["k"].equals(wanted["k"])
    assert (got["v"] - wanted["v"]).abs().max() < 1e-9
    assert got["v_a"].equals(wanted["v_right"].rename("v_a")) and got["v_b"].equals(wanted["v_b"])
    assert [e.iteration for e in seen] == [1, 2, 3, 4]
    assert second["a"].count() == 12 and len(seen) == 4  # they have run
    unsubscribe()


def test_a_loop_that_has_run_is_not_run_again_with_others(two):
    first, second, third = (hf.iterate(body, two.from_polars(STATE), max_iterations=3) for body in (doubled, added, doubled))
    assert first.count() == 12
    seen = []
    unsubscribe = two.events.subscribe(lambda e: seen.append(e) if isinstance(e, records.LoopIteration) else None)
    assert hf.concat([first, second, third]).select(pl.col("v").sum()).collect().item() == STATE["v"].sum() * 17 + 36
    assert len(seen) == 3
    unsubscribe()


def test_only_loops_that_lose_nothing_run_together(two):
    start = two.from_polars(STATE)

    def loop(dataset):
        return dataset._vertex.operator.loop

    plain, other = (loop(hf.iterate(body, start, max_iterations=3)) for body in (doubled, added))
    longer = loop(hf.iterate(doubled, start, max_iterations=4))
    ends = loop(hf.iterate(doubled, start, until=pl.col("v").max() > 9, max_iterations=3))
    steps = loop(hf.iterate(lambda s: s.bsp(lambda ctx, df: df, schema=STATE.schema), start, max_iterations=3))
    after = loop(hf.iterate(doubled, hf.iterate(doubled, start, max_iterations=3), max_iterations=3))
    around = loop(hf.iterate(lambda s: hf.iterate(doubled, s, max_iterations=3), start, max_iterations=3))
    loops = [plain, longer, ends, steps, other, around, after]
    assert groups_of(loops) == [[plain, other, after], [longer], [ends], [steps], [around]]
    needed = loop(after.initial["state"])
    assert groups_of([needed, after]) == [[needed], [after]]


@pytest.mark.thorough
def test_results_of_loops_that_ran_together_go_one_by_one(two):
    gc.collect()
    before = set(two._master.cached())
    first, second = (hf.iterate(body, two.from_polars(STATE), max_iterations=2) for body in (doubled, added))
    assert first.join(second, on="k").count() == 12
    assert len(set(two._master.cached()) - before) == 2
    del first
    gc.collect()
    assert len(set(two._master.cached()) - before) == 1 and second.count() == 12
    del second
    gc.collect()
    assert set(two._master.cached()) == before


def test_explain_shows_one_loop(two):
    first, second = (hf.iterate(body, two.from_polars(STATE), max_iterations=2) for body in (doubled, added))
    assert hf.concat([first, second]).explain().count("loop: 2 times") == 1
    assert first.explain().count("loop: 2 times") == 1


def test_loops_that_wait_for_each_other_in_two_threads_end(two):
    """Each action needs a group of loops of which one starts from a loop of the other action's group."""
    for _ in range(5):
        base = [hf.iterate(body, two.from_polars(STATE), max_iterations=2) for body in (doubled, added)]
        next_ = [hf.iterate(doubled, one, max_iterations=2) for one in base]
        left = hf.concat([next_[0], base[1]]).submit("count")
        right = hf.concat([next_[1], base[0]]).submit("count")
        assert left.result(30) == right.result(30) == 24
