"""hf.iterate: the same as the loop written out, on any number of workers; its state stays there, its body is compiled once."""

import gc
import json
import pickle

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.errors import ConfigError, NotConvergedError, SchemaError, TaskError
from hpcflow.events import records
from hpcflow.testing.session import InProcessSession
from tests.thorough import thorough

STATE = pl.DataFrame({"k": range(12), "v": [float(n % 5) for n in range(12)]})
EDGES = pl.DataFrame({"src": [n * 7 % 12 for n in range(60)], "dst": [n * 5 % 12 for n in range(60)]})


@pytest.fixture(params=[thorough((1, 1), id="(1, 1)"), pytest.param((2, 2), id="(2, 2)"), thorough((3, 1), id="(3, 1)")])
def session(request):
    workers, threads = request.param
    with InProcessSession(workers=workers, threads=threads, progress="off") as session:
        yield session


@pytest.fixture(scope="module")
def two():
    with InProcessSession(workers=2, threads=1, progress="off") as session:
        yield session


def doubled(state):
    return state.with_columns(pl.col("v") * 2)


def spread(state, edges):
    """Each vertex gets the mean of those that point at it."""
    sums = state.join(edges, left_on="k", right_on="src").group_by("dst").agg(pl.col("v").mean())
    return sums.select(pl.col("dst").alias("k"), "v")


def test_a_loop_gives_what_its_body_gives_when_written_out(session):
    state = hf.iterate(doubled, session.from_polars(STATE), max_iterations=5)
    assert state.sort("k").collect().equals(STATE.with_columns(pl.col("v") * 32))


def test_the_condition_over_the_state_ends_the_loop(session):
    state = hf.iterate(doubled, session.from_polars(STATE), until=pl.col("v").max() > 100, max_iterations=50)
    assert state.collect()["v"].max() == 128.0


def test_the_condition_may_compare_the_new_state_with_the_old(session):
    def halved(state):
        return state.with_columns((pl.col("v") / 2).floor())

    def unchanged(new, old):
        return new.join(old, on="k").select((pl.col("v") == pl.col("v_right")).all())

    state = hf.iterate(halved, session.from_polars(STATE), until=unchanged, max_iterations=50)
    assert state.collect()["v"].to_list() == [0.0] * 12


def test_metrics_decide_and_are_given_back(session):
    def body(state):
        new = doubled(state)
        return new, new.select(total=pl.col("v").sum())

    state, metrics = hf.iterate(body, session.from_polars(STATE), until=pl.col("total") > 1000, max_iterations=50)
    total = STATE["v"].sum()
    rounds = next(n for n in range(50) if total * 2**n > 1000)
    assert metrics.collect().rows() == [(total * 2**rounds,)]
    assert state.select(pl.col("v").sum()).collect().item() == total * 2**rounds


def test_rows_that_move_in_every_iteration_are_those_of_polars(session):
    edges = session.from_polars(EDGES)
    state = hf.iterate(lambda s: spread(s, edges), session.from_polars(STATE), max_iterations=4)
    wanted = STATE
    for _ in range(4):
        wanted = spread(wanted, EDGES)
    got, wanted = state.sort("k").collect(), wanted.sort("k")
    assert got["k"].equals(wanted["k"])
    assert (got["v"] - wanted["v"]).abs().max() < 1e-9


@pytest.mark.parametrize("shape", ["dict", "tuple"])
def test_a_state_of_several_datasets_keeps_its_form(session, shape):
    one, two = session.from_polars(STATE), session.from_dict({"n": [1]})
    if shape == "dict":
        got = hf.iterate(lambda s: {"b": s["b"].with_columns(pl.col("n") + 1), "a": doubled(s["a"])}, {"a": one, "b": two}, max_iterations=3)
        a, b = got["a"], got["b"]
    else:
        a, b = hf.iterate(lambda s: (doubled(s[0]), s[1].with_columns(pl.col("n") + 1)), (one, two), max_iterations=3)
    assert b.collect().rows() == [(4,)]
    assert a.sort("k").collect().equals(STATE.with_columns(pl.col("v") * 8))


def test_a_loop_runs_once_and_its_result_goes_with_its_last_reader(two):
    iterations = []
    unsubscribe = two.events.subscribe(lambda e: iterations.append(e) if isinstance(e, records.LoopIteration) else None)
    before = set(two._master.cached())
    state = hf.iterate(doubled, two.from_polars(STATE), max_iterations=3)
    assert not iterations
    assert state.count() == 12 and state.filter(pl.col("v") > 0).count() == 9
    assert [e.iteration for e in iterations] == [1, 2, 3]
    assert len(two._master.cached()) == len(before) + 1
    del state
    gc.collect()
    assert set(two._master.cached()) == before
    unsubscribe()


def test_the_body_is_traced_and_compiled_once_and_workers_get_one_plan(two, monkeypatch):
    calls, sent = [], []
    send_to = two._cluster.master.send_to
    monkeypatch.setattr(two._cluster.master, "send_to", lambda ranks, message: (sent.append(type(message).__name__), send_to(ranks, message))[1])

    def body(state):
        calls.append(1)
        return doubled(state)

    assert hf.iterate(body, two.from_polars(STATE), max_iterations=8).count() == 12
    assert calls == [1]
    assert sent.count("KeepPlan") <= 4  # the state, an iteration, the count


def test_what_does_not_depend_on_the_state_is_computed_once(two):
    calls = two.from_polars(EDGES).map_batches(_counted, schema=EDGES.schema)
    _COUNTED.clear()
    state = hf.iterate(lambda s: spread(s, calls), two.from_polars(STATE), max_iterations=5)
    assert state.count() == 12
    assert sum(_COUNTED) == EDGES.height


_COUNTED = []


def _counted(df):
    import tests.api.test_loops as here

    here._COUNTED.append(df.height)
    return df


def test_explain_shows_the_loop_what_is_done_once_and_an_iteration(two):
    edges = two.from_polars(EDGES)
    text = hf.iterate(lambda s: spread(s, edges), two.from_polars(STATE), until=pl.col("v").max() < 1, max_iterations=7).explain()
    assert "iterate#" in text and "at most 7 times until" in text
    once, each = text.split("once, before the first iteration")[1].split("each iteration")
    assert "from_memory" in once and "from_memory" not in each.split("stages")[-1]
    assert "state stays in 8 hash partitions" in once


def test_the_kept_side_of_a_join_is_shuffled_once(two):
    steps, moved = set(), []

    def seen(event):
        if isinstance(event, records.ExchangeStarted) and event.pattern == "hash shuffle":
            steps.add(event.step)
        if isinstance(event, records.ExchangeFinished) and event.step in steps:
            moved.append(event.rows_received)

    big = pl.DataFrame({"src": [n % 12 for n in range(5000)], "dst": [n * 5 % 12 for n in range(5000)]})
    edges = two.from_polars(big)
    state = hf.iterate(lambda s: spread(s, edges), two.from_polars(STATE), max_iterations=6)
    unsubscribe = two.events.subscribe(seen)
    state.count()
    unsubscribe()
    assert sum(moved) < 5000 + 12 + 6 * 200


def test_a_loop_that_does_not_converge_is_an_error_with_the_state_so_far(two):
    def body(state):
        new = doubled(state)
        return new, new.select(total=pl.col("v").sum())

    state, _ = hf.iterate(body, two.from_polars(STATE), until=pl.col("total") < 0, max_iterations=3)
    for _ in range(2):  # asking again does not make it converge
        with pytest.raises(NotConvergedError, match=r"after 3 iterations.*total=.*max_iterations") as caught:
            state.collect()
    error = caught.value
    assert error.iterations == 3 and error.metrics == {"total": STATE["v"].sum() * 8}
    so_far, metrics = error.state
    assert so_far.sort("k").collect().equals(STATE.with_columns(pl.col("v") * 8))
    assert metrics.collect().item() == STATE["v"].sum() * 8
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_on_limit_return_goes_on(two):
    state = hf.iterate(doubled, two.from_polars(STATE), until=pl.col("v").max() < 0, max_iterations=2, on_limit="return")
    assert state.sort("k").collect().equals(STATE.with_columns(pl.col("v") * 4))


def test_a_failing_body_leaves_the_session_usable_and_nothing_behind(two):
    def fails(df):
        raise RuntimeError("no more")

    before = set(two._master.cached())
    state = hf.iterate(lambda s: s.map_batches(fails, schema=STATE.schema), two.from_polars(STATE), max_iterations=2)
    with pytest.raises(TaskError, match="no more"):
        state.collect()
    assert set(two._master.cached()) == before
    assert two.from_polars(STATE).count() == 12


def test_an_empty_state_is_an_ordinary_state(session):
    state = hf.iterate(doubled, session.from_polars(STATE.clear()), until=pl.len() == 0, max_iterations=3)
    assert state.collect().equals(STATE.clear())


def test_a_state_that_the_body_leaves_alone(two):
    assert hf.iterate(lambda s: s, two.from_polars(STATE), max_iterations=2).sort("k").collect().equals(STATE)


def test_a_loop_may_start_from_the_result_of_another(two):
    first = hf.iterate(doubled, two.from_polars(STATE), max_iterations=2)
    assert hf.iterate(doubled, first, max_iterations=1).sort("k").collect().equals(STATE.with_columns(pl.col("v") * 8))


def test_positions_in_the_state_are_those_of_its_rows(session):
    def numbered(state):
        return state.with_row_index("i").with_columns(v=pl.col("i").cast(pl.Float64)).drop("i")

    state = hf.iterate(numbered, session.from_polars(STATE), max_iterations=2)
    assert state.collect()["v"].to_list() == [float(n) for n in range(12)]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"max_iterations": 0}, ConfigError, "at least 1"),
        ({"on_limit": "ignore"}, ConfigError, r"error', 'return"),
        ({"resume": True}, ConfigError, "needs checkpoint"),
        ({"until": 3}, ConfigError, "give an expression"),
        ({"until": pl.col("v").max()}, SchemaError, "one Boolean column"),
        ({"until": lambda new: new.select(pl.col("v") > 1, pl.col("k") > 1)}, SchemaError, "one Boolean column"),
    ],
    ids=lambda value: None,
)
def test_wrong_options_are_refused_at_once(two, wrong, error, message):
    with pytest.raises(error, match=message):
        hf.iterate(doubled, two.from_polars(STATE), **wrong)


def test_a_body_that_changes_the_schema_is_refused_at_once(two):
    with pytest.raises(SchemaError, match="v: String and not Float64"):
        hf.iterate(lambda s: s.with_columns(pl.col("v").cast(pl.String)), two.from_polars(STATE), max_iterations=1)
    with pytest.raises(SchemaError, match="has the parts"):
        hf.iterate(lambda s: {"other": s["a"]}, {"a": two.from_polars(STATE)}, max_iterations=1)


def test_a_condition_of_several_rows_is_refused(two):
    with pytest.raises(SchemaError, match="12 rows"):
        hf.iterate(doubled, two.from_polars(STATE), until=pl.col("v") > 1, max_iterations=1).collect()


# -- checkpoints ------------------------------------------------------------------------------------------------------------------------------------


def counted(state):
    new = state.with_columns(pl.col("v") + 1)
    return new, new.select(most=pl.col("v").max())


def test_a_loop_goes_on_from_its_checkpoint(two, tmp_path):
    place = tmp_path / "run"
    options = {"checkpoint": place, "checkpoint_every": 2}
    hf.iterate(counted, two.from_polars(STATE), max_iterations=5, **options)[0].count()
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["iteration"] == 4 and [p.name for p in place.glob("iteration-*")] == ["iteration-000004"]

    seen = []
    unsubscribe = two.events.subscribe(lambda e: seen.append(e.iteration) if isinstance(e, records.LoopIteration) else None)
    state, metrics = hf.iterate(counted, two.from_polars(STATE), until=pl.col("most") >= 13, max_iterations=20, resume=True, **options)
    assert state.sort("k").collect().equals(STATE.with_columns(pl.col("v") + 9))
    unsubscribe()
    assert seen == [5, 6, 7, 8, 9]
    assert metrics.collect().item() == 13.0


def test_a_loop_that_had_converged_at_its_checkpoint_runs_no_more(two, tmp_path):
    options = {"checkpoint": tmp_path / "run", "checkpoint_every": 3, "until": pl.col("most") >= 7, "max_iterations": 10, "resume": True}
    first = hf.iterate(counted, two.from_polars(STATE), **options)[0].sort("k").collect()
    again, metrics = hf.iterate(counted, two.from_polars(STATE), **options)
    assert again.sort("k").collect().equals(first)
    assert metrics.collect().item() == 7.0


def test_a_directory_with_a_checkpoint_is_not_taken_by_accident(two, tmp_path):
    options = {"max_iterations": 2, "checkpoint": tmp_path, "checkpoint_every": 1}
    hf.iterate(doubled, two.from_polars(STATE), **options).count()
    with pytest.raises(ConfigError, match="resume=True"):
        hf.iterate(doubled, two.from_polars(STATE), **options).count()


def test_a_damaged_checkpoint_says_what_to_do(two, tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(hf.SourceError, match="remove"):
        hf.iterate(doubled, two.from_polars(STATE), max_iterations=2, checkpoint=tmp_path, resume=True).count()


def test_a_checkpoint_beyond_the_limit_is_refused_and_one_at_it_is_the_result(two, tmp_path):
    options = {"checkpoint": tmp_path, "checkpoint_every": 1, "resume": True}
    rows = hf.iterate(doubled, two.from_polars(STATE), max_iterations=8, **options).sort("k").collect()
    assert hf.iterate(doubled, two.from_polars(STATE), max_iterations=8, **options).sort("k").collect().equals(rows)
    with pytest.raises(ConfigError, match="of iteration 8, which is beyond max_iterations=3"):
        hf.iterate(doubled, two.from_polars(STATE), max_iterations=3, **options).count()


def test_an_empty_state_is_written_and_read(two, tmp_path):
    options = {"checkpoint": tmp_path / "run", "checkpoint_every": 1, "resume": True}
    for limit in (1, 2):
        assert hf.iterate(doubled, two.from_polars(STATE.clear()), max_iterations=limit, **options).collect().equals(STATE.clear())


# -- a body that is one bsp step --------------------------------------------------------------------------------------------------------------------


def iterations_of(session, dataset):
    seen = []
    unsubscribe = session.events.subscribe(lambda e: seen.append(e) if isinstance(e, records.LoopIteration) else None)
    rows = dataset.sort("k").collect()
    unsubscribe()
    return rows, [e.iteration for e in seen]


def doubled_everywhere(ctx, state):
    return state.with_columns(pl.col("v") * 2 + 1)


def test_a_body_of_one_bsp_step_loops_within_the_step(session):
    state = hf.iterate(lambda s: s.bsp(doubled_everywhere, schema=STATE.schema), session.from_polars(STATE), max_iterations=6)
    assert "doubled_everywhere at most 6 times" in state.explain()
    rows, actions = iterations_of(session, state)
    wanted = STATE
    for _ in range(6):
        wanted = wanted.with_columns(pl.col("v") * 2 + 1)
    assert rows.equals(wanted) and actions == [6]


def test_a_loop_within_a_step_ends_when_aggregates_over_all_workers_say_so(session):
    state = hf.iterate(
        lambda s: s.bsp(doubled_everywhere, schema=STATE.schema), session.from_polars(STATE), until=pl.col("v").mean() > 300, max_iterations=50
    )
    rows, actions = iterations_of(session, state)
    wanted = STATE
    while not wanted["v"].mean() > 300:
        wanted = wanted.with_columns(pl.col("v") * 2 + 1)
    assert rows.equals(wanted) and len(actions) == 1


def test_a_loop_within_a_step_that_does_not_converge_is_an_error(two):
    state = hf.iterate(
        lambda s: s.bsp(doubled_everywhere, schema=STATE.schema), two.from_polars(STATE), until=pl.col("v").max() < 0, max_iterations=4
    )
    with pytest.raises(NotConvergedError, match="after 4 iterations") as caught:
        state.collect()
    assert caught.value.state.count() == 12


def test_a_loop_within_a_step_stops_for_checkpoints(two, tmp_path):
    options = {"checkpoint": tmp_path / "run", "checkpoint_every": 4, "resume": True}
    for limit in (6, 10):
        state = hf.iterate(lambda s: s.bsp(doubled_everywhere, schema=STATE.schema), two.from_polars(STATE), max_iterations=limit, **options)
        rows, actions = iterations_of(two, state)
        assert actions == ([4, 6] if limit == 6 else [8, 10])
        wanted = STATE
        for _ in range(limit):
            wanted = wanted.with_columns(pl.col("v") * 2 + 1)
        assert rows.equals(wanted)


def test_a_bsp_step_among_dataflow_runs_once_an_iteration(two):
    def body(state):
        return state.bsp(doubled_everywhere, schema=STATE.schema).with_columns(pl.col("v") - 1)

    rows, actions = iterations_of(two, hf.iterate(body, two.from_polars(STATE), max_iterations=3))
    assert rows.equals(STATE.with_columns(pl.col("v") * 8)) and actions == [1, 2, 3]


def test_a_loop_within_a_step_keeps_its_other_inputs(two):
    def body(state):
        return state.bsp(added, inputs=[more], schema=STATE.schema, format="numpy")

    more = two.from_dict({"x": [1.0, 2.0, 3.0]})
    rows, actions = iterations_of(two, hf.iterate(body, two.from_polars(STATE), max_iterations=5))
    assert rows.equals(STATE.with_columns(pl.col("v") + 30)) and actions == [5]


def added(ctx, state, more):
    return {"k": state["k"], "v": state["v"] + ctx.comm.allreduce(float(more["x"].sum()), op=ctx.MPI.SUM)}


def test_a_state_that_does_not_depend_on_the_one_before_may_have_metrics(two):
    def body(state):
        new = fixed.filter(pl.col("v") > 3)
        return new, new.select(n=pl.len())

    fixed = two.from_polars(STATE)
    state, metrics = hf.iterate(body, two.from_polars(STATE), max_iterations=3)
    assert state.collect().equals(STATE.filter(pl.col("v") > 3))
    assert metrics.collect().item() == 2


def test_a_loop_goes_on_when_a_dataset_that_it_reads_is_unpersisted(two):
    def body(state):
        return hf.concat([state, rows])

    rows = two.from_polars(STATE).cache()
    assert rows.count() == 12
    unsubscribe = two.events.subscribe(lambda event: rows.unpersist() if isinstance(event, records.LoopIteration) else None)
    try:
        assert hf.iterate(body, two.from_polars(STATE), max_iterations=3).collect().equals(pl.concat([STATE] * 4))
    finally:
        unsubscribe()


def test_a_cache_of_what_changes_is_computed_anew_in_every_iteration_and_leaves_nothing(two):
    gc.collect()
    before = set(two._master.cached())
    rows = two.from_polars(STATE).cache()

    def body(state):
        both = hf.concat([state, rows]).group_by("k").agg(pl.col("v").sum()).cache()
        return both.join(both.with_columns(pl.col("v") + 1), on="k").select("k", pl.col("v_right").alias("v"))

    assert rows.count() == 12
    # Each iteration is compiled anew, since a dataset that it reads has gone.
    unsubscribe = two.events.subscribe(lambda event: rows.unpersist() if isinstance(event, records.LoopIteration) else None)
    try:
        got = hf.iterate(body, two.from_polars(STATE), max_iterations=3).sort("k").collect()
    finally:
        unsubscribe()
    assert got.equals(STATE.with_columns(pl.col("v") * 4 + 3))
    rows.unpersist()
    gc.collect()
    assert set(two._master.cached()) == before
