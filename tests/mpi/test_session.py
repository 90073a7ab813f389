"""Sessions over MPI: mpirun -n 3 python -m pytest --with-mpi tests/mpi. Programs, errors and properties as in one process, between ranks."""

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.testing.session import run_session_mpi
from hpcflow.testing.tables import table_of_every_type
from tests.api import (
    test_actions,
    test_expressions,
    test_group_by,
    test_joins,
    test_messages,
    test_no_columns,
    test_rows,
    test_sort,
    test_with_property,
)
from tests.api.oracle import colours, events, same

pytestmark = pytest.mark.mpi

SMALL = {"target_split_bytes": 1000, "broadcast_threshold_bytes": 0, "step_timeout_s": 30}


def _check_all(cases, *tables, by=None, **options):
    """The cases run in one session; all of them run in process too, so that here every third will do: what differs is how rows travel."""
    cases = dict(list(cases.items())[::3])

    def job(session):
        datasets = [session.from_polars(table) for table in tables]
        for name, chain in cases.items():
            want = chain(*(table.lazy() for table in tables)).collect()
            order = want.columns[: {"two_keys": 2, "named_key": 2}.get(name, 1)] if isinstance(by, str) and by == "keys" else by
            try:
                same(chain(*datasets).collect(), want, by=order)
            except BaseException as error:
                error.add_note(f"case {name}")
                raise

    run_session_mpi(job, timeout_s=110, **options)


def test_rows_and_expressions():
    _check_all(test_rows.CASES | test_expressions.CASES, events(), **SMALL)


def test_limits_no_columns_and_gathered_selects():
    cases = test_no_columns.CONSTANT_KEYS | {name: lambda t, chain=chain: chain(t, t.head(2)) for name, chain in test_no_columns.CHAINS.items()}
    alone = {name: chain for name, chain in cases.items() if name not in ("cross", "cross_of_none", "concat")}
    _check_all(alone, test_no_columns.TABLE, **SMALL)
    _check_all(test_messages.WHOLE, events(), **SMALL)


def test_head_of_a_table_without_an_end():
    def job(session):
        rows = session.range(10**11).filter(pl.col("value") % 10**7 == 5)
        assert rows.head(2).collect()["value"].to_list() == [5, 10**7 + 5]
        assert rows.slice(1, 1).collect()["value"].to_list() == [10**7 + 5]

    run_session_mpi(job, timeout_s=110)


def test_a_property_that_would_give_other_rows_is_refused():
    def job(session):
        for name in ("group_by", "join_inner", "sort", "unique_first", "filter", "top_k"):
            test_with_property.tried(session, name, test_with_property.PATTERNS)

    run_session_mpi(job, timeout_s=110, **SMALL)


def test_sorts():
    _check_all(test_sort.CASES, events(), **SMALL)


def test_groups():
    _check_all(test_group_by.CASES, events(), by="keys", **SMALL)


def test_joins_shuffled_and_broadcast():
    slim = events().select(test_joins.SLIM)
    hows = {how: lambda a, b, how=how: a.join(b, on="k", how=how) for how in test_joins.HOWS}
    for options in (SMALL, {}):
        _check_all(hows | test_joins.OTHERS, slim, colours(), by=pl.all(), **options)


def test_concats():
    slim = events().select(test_actions.SLIM)
    _check_all(test_actions.CONCATS, slim, slim.sample(30, seed=1))


def test_every_type_is_sorted_and_joined():
    table = table_of_every_type(40).with_row_index("i")
    _check_all({"both": lambda t: t.sort("string", "i").join(t.select("i", "Int128"), on="i").sort("i")}, table, **SMALL)


def test_the_session_goes_on_after_a_failing_task():
    def job(session):
        def fail(df):
            raise ValueError("no such luck")

        data = session.range(100)
        with pytest.raises(hf.TaskError, match="no such luck"):
            data.map_batches(fail, schema={"value": pl.Int64}).collect()
        return data.count()

    assert run_session_mpi(job) == 100


def test_spilling_through_a_small_window_ends(tmp_path_factory):
    rows = 60_000
    table = pl.DataFrame({"k": range(rows), "x": [n * 7 % rows for n in range(rows)], "s": ["some text that takes room"] * rows})

    def job(session):
        d = session.from_polars(table)
        same(d.repartition(by="k").sort("x").select("x").collect(), table.sort("x").select("x"))
        joined = d.join(d.select(k="x", z="k"), on="k").group_by("s").agg(pl.len(), pl.col("z").sum())
        same(joined.collect(), table.group_by("s").agg(pl.len(), z=pl.col("k").sum()))

    run_session_mpi(job, timeout_s=110, threads=1, window_bytes=1 << 20, chunk_bytes=64 << 10, memory_budget=1_500_000, broadcast_threshold_bytes=0)


def test_a_job_that_fails_fails_on_every_rank_and_leaves_them_usable():
    def job(session):
        raise ValueError("of the job")

    with pytest.raises(ValueError, match="of the job"):
        run_session_mpi(job)
    assert run_session_mpi(lambda session: session.range(7).count()) == 7


def test_a_driver_that_hosts_a_worker_keeps_its_results():
    def job(session):
        for rows in range(5):
            assert session.range(rows).collect().height == rows

    run_session_mpi(job, master="shared", step_timeout_s=20)
