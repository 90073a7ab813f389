"""Table collectives on threads as ranks: the contract suite of both kinds, reductions, and requests that are open together."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hpcflow.bsp import table_reductions, table_requests, tables
from hpcflow.errors import ConfigError, SchemaError, StepTimeoutError, UnsupportedExpressionError
from hpcflow.testing.bsp import run_on_threads
from hpcflow.testing.table_contract import BLOCKING, NONBLOCKING, TABLE_CHECKS, share, whole_of
from tests.thorough import thorough

SIZES = [3, *map(thorough, (1, 2, 7))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("calls", [BLOCKING, NONBLOCKING], ids=lambda calls: calls.name)
@pytest.mark.parametrize("check", TABLE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, calls, size):
    check(lambda job: run_on_threads(job, size), calls)


@pytest.mark.parametrize("size", SIZES)
def test_reductions_of_all_rows_are_polars_select(size):
    aggs = [pl.len().alias("n"), pl.col("f64").drop_nans().mean(), pl.col("Int64").sum(), pl.col("string").max(), pl.col("UInt32").std().alias("std")]
    for chosen in (aggs, [*aggs, pl.col("f32").median()], [pl.col("Int8").min() + pl.col("Int8").max()]):
        wanted = whole_of(size).select(chosen)

        def job(group, chosen=chosen):
            mine = share(group.rank, group.size)
            return table_reductions.allreduce(group, mine, chosen), table_reductions.reduce(group, mine, chosen, root=size - 1)

        for rank, (everywhere, at_root) in enumerate(run_on_threads(job, size)):
            assert_frame_equal(everywhere, wanted, rel_tol=1e-9)
            assert at_root is None if rank != size - 1 else at_root.equals(everywhere, null_equal=True)


@pytest.mark.parametrize("size", SIZES)
def test_scans_are_polars_select_over_the_ranks_so_far(size):
    aggs = [pl.len(), pl.col("f64").drop_nans().mean(), pl.col("Int64").sum(), pl.col("string").max(), pl.col("UInt32").std().alias("std")]
    for chosen in (aggs, [*aggs, pl.col("f32").median()]):

        def job(group, chosen=chosen):
            mine = share(group.rank, group.size)
            requests = table_reductions.iscan(group, mine, chosen), table_reductions.iexscan(group, mine, chosen)
            return [
                table_reductions.scan(group, mine, chosen),
                table_reductions.exscan(group, mine, chosen),
                *(request.wait(20) for request in reversed(requests)),
                table_reductions.allreduce(group, mine, chosen),
            ]

        for rank, (scan, exscan, later_exscan, later_scan, total) in enumerate(run_on_threads(job, size)):
            so_far = [share(one, size) for one in range(rank + 1)]
            assert_frame_equal(scan, pl.concat(so_far).select(chosen), rel_tol=1e-9)
            assert_frame_equal(exscan, pl.concat([so_far[0].clear(), *so_far[:-1]]).select(chosen), rel_tol=1e-9)
            assert scan.equals(later_scan, null_equal=True) and exscan.equals(later_exscan, null_equal=True)
            assert rank != size - 1 or scan.equals(total, null_equal=True)


def test_one_table_is_what_reduce_scatter_block_cuts():
    with pytest.raises(ConfigError, match="for a table a rank there is reduce_scatter"):
        run_on_threads(lambda group: table_reductions.reduce_scatter_block(group, [share(0, 1)], pl.len()), 1)


def test_wrong_reductions_are_refused():
    with pytest.raises(UnsupportedExpressionError):
        run_on_threads(lambda group: table_reductions.allreduce(group, share(0, 1), pl.col("Int8").shuffle().first()), 1)


def test_other_schemas_are_refused_on_every_rank():
    def job(group):
        table = pl.DataFrame({"a": [1]}, schema={"a": pl.Int32 if group.rank == 1 else pl.Int64})
        told = []
        for call in (lambda: tables.allgather(group, table), lambda: tables.alltoall(group, [table] * 3)):
            with pytest.raises(SchemaError, match="another schema than this one of rank") as caught:
                call()
            told.append("ranks [1]" in str(caught.value))
        return told

    told = run_on_threads(job, 3)
    assert told == [[True, True], [False, False], [True, True]]


def test_requests_are_open_together_and_end_in_any_order():
    def job(group):
        first = table_requests.iallgather(group, share(group.rank, group.size))
        second = table_requests.ibcast(group, share(0, 1) if group.rank == 2 else None, 2)
        third = table_requests.igather(group, share(group.rank, group.size), 1)
        requests = [first, second, third]
        results = {}
        for index in ((0, 1, 2), (2, 1, 0), (1, 2, 0))[group.rank]:
            results[index] = requests[index].wait(20)
            assert requests[index].test() == (True, results[index]) or requests[index].test()[0]
        assert results[0].height == 60 and results[1].height == 60
        assert (results[2] is None) == (group.rank != 1)
        assert not group.store.frames
        group.comm.Barrier()

    run_on_threads(job, 3)


def test_a_request_that_waits_for_the_root_says_so_and_goes_on():
    def job(group):
        if group.rank == 0:
            request = table_requests.iscatter(group, None, 1)
            assert request.test() == (False, None)
            with pytest.raises(StepTimeoutError, match="the root has not made its call"):
                request.wait(0.05)
            group.comm.Barrier()
            return request.wait(20)["row"].to_list()
        group.comm.Barrier()
        return table_requests.iscatter(group, pl.DataFrame({"row": [1, 2, 3]}), 1).wait()["row"].to_list()

    assert run_on_threads(job, 2) == [[1], [2, 3]]


def test_a_result_keeps_its_memory_and_gives_it_back():
    def job(group):
        df = pl.DataFrame({"n": range(100_000)})
        found = tables.allgather(group, df)
        held = group.pool.resident_bytes
        one = found["n"].slice(100_005 - 100_000 * group.rank, 1)
        del found
        assert group.pool.resident_bytes == held >= 800_000
        assert one[0] == 5
        del one
        return group.pool.resident_bytes

    assert run_on_threads(job, 2) == [0, 0]
