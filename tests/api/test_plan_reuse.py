"""A program that was compiled before runs on the plan it got then, and gives what it would have given if compiled anew."""

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.events import records
from hpcflow.ir.program import program_of
from hpcflow.testing.session import InProcessSession


@pytest.fixture(scope="module")
def session():
    with InProcessSession(workers=2, threads=1, progress="off") as session:
        yield session


@pytest.fixture
def compiled(session):
    """Names of the passes that ran: empty while plans are used again."""
    seen = []
    unsubscribe = session.events.subscribe(lambda event: seen.append(event.name) if isinstance(event, records.PassRun) else None)
    yield seen
    unsubscribe()


def sums(session, table, least):
    return session.from_polars(table).filter(pl.col("v") > least).group_by("k").agg(pl.col("v").sum()).sort("k").collect()


def test_an_equal_program_over_another_table_runs_on_the_same_plan(session, compiled):
    assert sums(session, pl.DataFrame({"k": [1, 1, 2], "v": [1, 2, 3]}), -7).rows() == [(1, 3), (2, 3)]
    assert compiled
    compiled.clear()
    assert sums(session, pl.DataFrame({"k": [5, 6, 5], "v": [4, 5, 6]}), -7).rows() == [(5, 10), (6, 5)]
    assert not compiled


def test_another_constant_is_another_program(session, compiled):
    table = pl.DataFrame({"k": [1, 1, 2], "v": [1, 2, 3]})
    sums(session, table, -1)
    compiled.clear()
    assert sums(session, table, 1).rows() == [(1, 2), (2, 3)]
    assert compiled


def test_other_column_types_are_another_program(session, compiled):
    sums(session, pl.DataFrame({"k": [1], "v": [1]}), -2)
    compiled.clear()
    assert sums(session, pl.DataFrame({"k": ["a"], "v": [0.5]}), -2).rows() == [("a", 0.5)]
    assert compiled


def test_a_function_sees_the_variables_of_the_time_it_runs(session):
    factor = [1]

    def scaled(df):
        return df.with_columns(pl.col("v") * factor[0])

    data = session.from_dict({"v": [1, 2]}).map_batches(scaled, schema={"v": pl.Int64})
    assert data.collect()["v"].to_list() == [1, 2]
    factor[0] = 10
    assert data.collect()["v"].to_list() == [10, 20]


def test_an_expression_with_a_function_sees_the_variables_of_the_time_it_runs(session):
    factor = [1]
    data = session.from_dict({"v": [1, 2]}).map_batches(
        lambda df: df.with_columns(pl.col("v").map_elements(lambda x: x * factor[0], return_dtype=pl.Int64))
    )
    assert data.collect()["v"].to_list() == [1, 2]
    factor[0] = 3
    assert data.collect()["v"].to_list() == [3, 6]


def test_two_tables_that_were_one_are_told_apart(session):
    one, two = pl.DataFrame({"k": [1, 2], "v": [1, 2]}), pl.DataFrame({"k": [1, 2], "v": [10, 20]})

    def joined(a, b):
        return session.from_polars(a).join(session.from_polars(b), on="k").sort("k").collect()["v_right"].to_list()

    assert joined(one, one) == [1, 2]
    assert joined(one, two) == [10, 20]
    assert joined(two, two) == [10, 20]


def test_a_table_of_which_only_some_columns_are_needed_is_bound_without_the_others(session, compiled):
    for n in (3, 4):
        table = pl.DataFrame({"a": range(n), "unused": ["x" * n] * n, "b": [n] * n})
        assert session.from_polars(table).select(pl.col("b") + pl.col("a")).collect()["b"].to_list() == [n + i for i in range(n)]


def test_a_loop_over_cached_datasets_compiles_its_body_once(session, compiled):
    state = session.from_dict({"k": list(range(8)), "v": [1.0] * 8}).cache()
    state.count()
    seen = []
    for _ in range(5):
        compiled.clear()
        new = state.with_columns(pl.col("v") * 2).cache()
        new.count()
        state.unpersist()
        state = new
        seen.append(bool(compiled))
    assert state.collect()["v"].to_list() == [32.0] * 8
    assert seen == [True, False, False, False, False]
    state.unpersist()
    assert not session._cluster.master.caches


def test_cached_datasets_of_other_columns_are_other_programs(session):
    for table in (pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]}), pl.DataFrame({"a": ["x"]})):
        data = session.from_polars(table).cache()
        assert data.count() == 1
        assert data.collect().equals(table)


def test_a_file_that_was_written_anew_is_read_anew(session, tmp_path):
    path = tmp_path / "t.csv"
    for value in (1, 2):
        path.write_text(f"v\n{value}\n")
        assert session.read_csv(path).collect()["v"].to_list() == [value]


def test_a_dataset_whose_file_has_grown_since_is_read_as_it_was_listed(session, tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"v": [1, 2]}).write_parquet(path)
    data = session.read_parquet(path)
    assert data.collect()["v"].to_list() == [1, 2]
    pl.DataFrame({"v": [1, 2, 3]}).write_parquet(path)
    assert session.read_parquet(path).collect()["v"].to_list() == [1, 2, 3]


def test_workers_get_a_plan_once(session, monkeypatch):
    master = session._cluster.master
    sent = []
    send_to = master.send_to
    monkeypatch.setattr(master, "send_to", lambda ranks, message: (sent.append(type(message).__name__), send_to(ranks, message))[1])
    for n in range(3):
        sums(session, pl.DataFrame({"k": [n], "v": [n]}), -77)
    assert sent.count("KeepPlan") == 1


def test_more_plans_than_are_kept_are_forgotten_in_order(session, monkeypatch):
    from hpcflow.plan import reuse
    from hpcflow.runtime import sent_plans

    monkeypatch.setattr(reuse, "KEPT_PLANS", 2)
    monkeypatch.setattr(sent_plans, "HELD_PLANS", 2)
    with hf.Session(workers=1, progress="off") as s:
        for round_ in range(2):
            for least in range(4):
                got = s.from_dict({"v": [1, 2, 3, 4]}).filter(pl.col("v") > least).collect()
                assert got["v"].to_list() == list(range(least + 1, 5)), round_


def test_a_key_tells_what_is_on_the_workers_from_what_is_not(session):
    from hpcflow.api.building import to_dag

    data = session.from_dict({"v": [1]}).cache()
    before = program_of(to_dag([data], {}), [data._vertex.id], {})
    after = program_of(to_dag([data], {data._vertex.operator.key: 1}), [data._vertex.id], {data._vertex.operator.key: 1})
    assert before.key != after.key
