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
