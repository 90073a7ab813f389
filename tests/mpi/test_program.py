"""Programs on MPI ranks: ctx.comm is mpi4py's own, shares and files as in one process."""

from __future__ import annotations

import os

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import hpcflow as hf
from hpcflow.testing.program import run_program_mpi
from hpcflow.testing.run import run_mpi

pytestmark = pytest.mark.mpi

ROWS = pl.DataFrame({"a": range(1000), "b": [f"text {i % 7}" for i in range(1000)]})


def test_ctx_comm_is_a_private_intracomm_of_mpi4py_with_its_error_handling():
    def job(ctx):
        from mpi4py import MPI

        assert type(ctx.comm) is MPI.Intracomm and ctx.MPI is MPI
        assert MPI.Comm.Compare(ctx.comm, MPI.COMM_WORLD) == MPI.CONGRUENT
        assert MPI.Comm.Compare(ctx.comm, ctx.engine.comm._comm) == MPI.CONGRUENT  # not the engine's: same ranks, another context
        assert ctx.comm.Get_errhandler() == MPI.ERRORS_RETURN
        with pytest.raises(MPI.Exception) as caught:
            ctx.comm.send(None, dest=ctx.size)
        assert caught.value.Get_error_class() == MPI.ERR_RANK
        return ctx.rank, ctx.size, ctx.comm.rank

    found = run_program_mpi(job)
    assert found == [(rank, len(found), rank) for rank in range(len(found))]


def test_user_messages_with_any_tag_never_meet_the_engines():
    def job(ctx):
        right, left = (ctx.rank + 1) % ctx.size, (ctx.rank - 1) % ctx.size
        for tag in range(8):
            request = ctx.comm.isend(("mine", ctx.rank, tag), dest=right, tag=tag)
            ctx.metrics.counter(f"tag {tag}").add()  # a record that travels by the engine meanwhile
            assert ctx.comm.recv(source=ctx.MPI.ANY_SOURCE, tag=ctx.MPI.ANY_TAG) == ("mine", left, tag)
            request.wait()
        return ctx.metrics.values()

    assert all(len(values) == 8 for values in run_program_mpi(job))


def test_shares_of_files_and_one_directory_written_together(tmp_path_factory):
    def job(ctx):
        folder = ctx.comm.bcast(str(tmp_path_factory.mktemp("files")) if ctx.is_root else None)
        if ctx.is_root:
            for number in range(3):
                ROWS.slice(number * 300, 300 if number < 2 else 400).write_parquet(f"{folder}/{number}.parquet", row_group_size=70)
        ctx.comm.barrier()
        df = ctx.read_parquet(f"{folder}/*.parquet", predicate=pl.col("a") >= 5)
        assert ctx.write_parquet(df, f"{folder}/out") == 995
        files = sorted(os.listdir(f"{folder}/out"))
        assert files == [f"part-{rank:05}.parquet" for rank in range(ctx.size)]
        assert_frame_equal(pl.read_parquet(f"{folder}/out/*.parquet"), ROWS.slice(5))
        try:
            ctx.write_parquet(df, f"{folder}/out")
        except hf.SinkError:
            return df
        return None

    assert_frame_equal(pl.concat(run_program_mpi(job)), ROWS.slice(5))


def test_two_runs_of_one_engine_keep_their_messages_apart():
    from hpcflow.comm.mpi import import_mpi
    from hpcflow.config import load_config
    from hpcflow.native import ArenaPool
    from hpcflow.runtime.activity import ThreadActivity
    from hpcflow.runtime.distributed import Member, ProgramRun, run_rank

    def program(ctx):
        ctx.metrics.gauge("g").set(ctx.rank)
        return ctx.comm.allreduce(np.arange(4) * ctx.rank).tolist(), ctx.next_step()

    def job(engine):
        import threading

        member, events = Member(engine, ArenaPool()), []
        results = []
        for _ in range(5):
            comm = engine.comm.duplicate()
            run = ProgramRun("program", program, (), load_config({}))
            activity = ThreadActivity(engine, threading.get_ident())
            results.append(run_rank(run, member, comm, import_mpi(), events.append, activity, lambda error: None))
            comm.Free()
        return results, sorted(event.rank for event in events if event.kind == "metric_reported")

    found = run_mpi(job)
    size = len(found)
    total = size * (size - 1) // 2
    assert all(results == [([0, total, 2 * total, 3 * total], step) for step in range(1, 6)] for results, _ in found)
    assert found[0][1] == sorted(list(range(size)) * 5) and all(ranks == [] for _, ranks in found[1:])
