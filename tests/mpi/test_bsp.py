"""ds.bsp(function) over MPI: mpirun -n 3 python -m pytest --with-mpi tests/mpi. The communicator is mpi4py's own, of exactly the workers."""

import numpy as np
import polars as pl
import pytest

from hpcflow.testing.run import world_size
from hpcflow.testing.session import run_session_mpi
from tests.api.oracle import same
from tests.api.test_bsp import WHERE, where

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("master", ["dedicated", "shared"] if world_size() > 1 else ["shared"])
def test_the_communicator_is_mpi4pys_and_holds_exactly_the_workers(master):
    def job(session):
        def look(ctx, table):
            from mpi4py import MPI

            assert type(ctx.comm) is MPI.Intracomm and ctx.MPI is MPI
            assert MPI.Comm.Compare(ctx.comm, MPI.COMM_WORLD) != MPI.IDENT
            world = ctx.comm.allgather(MPI.COMM_WORLD.rank)
            return {"rank": [ctx.comm.rank], "size": [ctx.comm.size], "same": [world == list(ctx.engine_ranks)]}

        got = session.range(10).bsp(look, schema={"rank": pl.Int64, "size": pl.Int64, "same": pl.Boolean}).collect()
        assert got.rows() == [(rank, session.workers, True) for rank in range(session.workers)]

    run_session_mpi(job, master=master, step_timeout_s=30)


def test_shares_steps_and_cached_inputs():
    def job(session):
        table = pl.DataFrame({"value": range(1003), "s": [f"text {i % 7}" for i in range(1003)]})
        data = session.from_polars(table).filter(pl.col("value") % 3 > 0)
        want = table.filter(pl.col("value") % 3 > 0)
        same(data.bsp(lambda ctx, t: t, schema=table.schema).collect(), want)
        kept = data.cache()
        for _ in range(3):
            got = kept.bsp(where, schema=WHERE).collect()
            assert got["rank"].to_list() == list(range(session.workers)) and set(got["total"]) == {want["value"].sum()}
        same(kept.collect(), want)
        by_key = data.repartition(by="s").bsp(lambda ctx, t: t.select(pl.col("s").unique()), schema={"s": pl.String}).collect()
        assert sorted(by_key["s"]) == [f"text {i}" for i in range(7)]

    run_session_mpi(job, timeout_s=90, step_timeout_s=30, target_split_bytes=2000)


def test_bare_arrays_go_in_and_come_out():
    def job(session):
        def shifted(ctx, n):
            total = np.zeros(1, np.int64)
            ctx.comm.Allreduce(np.array([n.sum()]), total)
            return np.stack([n, n + total[0]], axis=1)

        got = session.range(100).bsp(shifted, schema={"n": pl.Int64, "m": pl.Int64}, format="array").collect()
        assert got["n"].to_list() == list(range(100)) and got["m"].to_list() == [n + 4950 for n in range(100)]

    run_session_mpi(job, step_timeout_s=30)


def test_what_a_function_returns_may_be_wrong_without_an_end_of_ranks():
    def job(session):
        import hpcflow as hf

        with pytest.raises(hf.SchemaError, match="no schema was declared"):
            session.range(10).bsp(lambda ctx, t: t).count()
        return session.range(10).bsp(where, schema=WHERE).count() == session.workers

    assert run_session_mpi(job, step_timeout_s=30)
