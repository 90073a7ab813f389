"""The option `debug_collectives` where users meet it: programs and bsp functions."""

import numpy as np
import polars as pl
import pytest

import hpcflow as hf
from hpcflow.bsp.checked_comm import CheckedComm
from hpcflow.bsp.thread_comm import ThreadComm


@hf.program
def right(ctx):
    total = np.zeros(1)
    ctx.comm.Allreduce(np.ones(1), total, op=ctx.MPI.SUM)
    part = ctx.comm.Split(ctx.rank % 2)
    return total[0], part.allreduce(1), isinstance(ctx.comm, CheckedComm), isinstance(ctx.comm, ThreadComm)


@hf.program
def wrong(ctx):
    if ctx.rank == 1:
        return ctx.comm.bcast(1)
    return ctx.comm.allreduce(1)


@hf.program
def leaves(ctx):
    if ctx.rank != 0:
        ctx.comm.barrier()


def test_a_right_program_runs_as_before():
    assert right.run_all(workers=3, debug_collectives=True) == [(3.0, 2, True, True), (3.0, 1, True, True), (3.0, 2, True, True)]
    assert right.run_all(workers=2)[0][2:] == (False, True)


def test_a_wrong_program_is_told_what_each_rank_has_entered():
    with pytest.raises(hf.CollectiveMismatchError, match=r"ranks 0, 2: allreduce\(op=SUM\) at .*test_debug_collectives.py:\d+ in wrong") as error:
        wrong.run(workers=3, debug_collectives=True)
    assert "rank 1: bcast(root=0) at " in str(error.value)


def test_a_rank_that_returns_while_others_wait_is_told():
    with pytest.raises(hf.CollectiveMismatchError, match="rank 0: has left the user's function"):
        leaves.run(workers=3, debug_collectives=True)


@pytest.mark.parametrize("blocking", [True, False])
def test_calls_on_tables_are_compared_under_their_own_names(blocking):
    @hf.program
    def mixed(ctx):
        df = pl.DataFrame({"v": [ctx.rank]})
        name = ("" if blocking else "i") + ("exscan" if ctx.rank else "scan")
        request = getattr(ctx, name)(df, pl.len())
        return request if blocking else request.wait()

    mark = "" if blocking else "i"
    with pytest.raises(hf.CollectiveMismatchError, match=rf"rank 0: ctx\.{mark}scan\(\) at .*in mixed") as error:
        mixed.run(workers=3, debug_collectives=True)
    assert f"ranks 1, 2: ctx.{mark}exscan() at " in str(error.value)


def test_a_call_on_a_table_is_not_the_call_on_objects():
    @hf.program
    def mixed(ctx):
        return ctx.bcast(pl.DataFrame({"v": [1]})) if ctx.rank == 0 else ctx.comm.bcast(None)

    with pytest.raises(hf.CollectiveMismatchError, match=r"rank 0: ctx\.bcast\(root=0\)"):
        mixed.run(workers=2, debug_collectives=True)


def test_ranks_that_speak_to_other_neighbours_are_told():
    @hf.program
    def mixed(ctx):
        grid = ctx.cartesian((0,), periodic=True)
        grid.exchange_tables({(1 if ctx.rank else -1,): pl.DataFrame({"v": [1]})})

    with pytest.raises(hf.CollectiveMismatchError, match=r"rank 0: grid\.exchange_tables\(op=offsets \[\(-1,\)\]\)"):
        mixed.run(workers=3, debug_collectives=True)


def test_calls_that_do_not_block_do_not_wait_in_debug_mode_either():
    @hf.program
    def late(ctx):
        if ctx.rank == 1:
            ctx.comm.recv(source=0, tag=5)  # rank 0 is past its calls before rank 1 makes its own
        request = ctx.ibcast(pl.DataFrame({"v": [1]}) if ctx.rank == 1 else None, 1)
        second = ctx.iallreduce(pl.DataFrame({"v": [ctx.rank]}), pl.col("v").sum())
        if ctx.rank == 0:
            assert request.test() == (False, None)
            ctx.comm.send(None, dest=1, tag=5)
        return second.wait().item() + request.wait().item()

    assert late.run_all(workers=2, debug_collectives=True) == [2, 2]


def test_a_bsp_function_is_checked_and_the_session_goes_on():
    def total(ctx, df):
        return pl.DataFrame({"n": [ctx.comm.allreduce(df.height)], "checked": [isinstance(ctx.comm, CheckedComm)]})

    def bad(ctx, df):
        ctx.comm.allreduce(1) if ctx.rank else ctx.comm.barrier()
        return df

    with hf.Session(workers=3, debug_collectives=True) as s:
        schema = {"n": pl.Int64, "checked": pl.Boolean}
        assert s.range(10).bsp(total, schema=schema).collect().to_dict(as_series=False) == {"n": [10] * 3, "checked": [True] * 3}
        with pytest.raises(hf.CollectiveMismatchError, match="rank 0: barrier"):
            s.range(10).bsp(bad, schema={"value": pl.Int64}).collect()
        assert s.range(10).bsp(total, schema=schema).count() == 3
