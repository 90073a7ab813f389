"""hf.broadcast and hf.accumulator between processes: mpirun -n 3 python -m pytest --with-mpi tests/mpi."""

import os

import numpy as np
import polars as pl
import pytest

import hpcflow as hf
from hpcflow.testing.session import run_session_mpi

pytestmark = pytest.mark.mpi


def test_a_large_value_is_sent_once_a_process_and_released():
    def job(session):
        numbers = np.arange(300_000.0)
        shared, table = hf.broadcast(numbers), hf.broadcast(pl.DataFrame({"k": [1, 2], "s": ["a", None]}))
        tasks = hf.accumulator(0)

        def use(df):
            assert not shared.value.flags.writeable and shared.value.sum() == 300_000 * 299_999 / 2 and table.value["s"][0] == "a"
            tasks.add(1)
            return df.with_columns(where=pl.lit(f"{os.getpid()} {id(shared.value)}"))

        schema = {"value": pl.Int64, "where": pl.String}
        seen = set()
        for _ in range(3):
            seen |= set(session.range(1000).repartition(12).map_batches(use, schema=schema).collect()["where"])
        others = session.workers - (session._master.engine.size == 1)
        assert len(seen) <= session.workers and tasks.value >= 3
        sent = session._master.shared.sent_bytes
        assert others * numbers.nbytes <= sent <= others * (numbers.nbytes + 20_000), (sent, others)
        shared.unpersist()
        session.range(1000).map_batches(use, schema=schema).count()
        assert session._master.shared.sent_bytes >= sent + others * numbers.nbytes

    run_session_mpi(job, timeout_s=60, step_timeout_s=30, target_split_bytes=500)


def test_sums_come_back_from_all_processes_and_bsp_steps_share_values():
    def job(session):
        rows, scale = hf.accumulator(0), hf.broadcast(np.array([3.0]))

        def step(ctx, table):
            rows.add(table.height)
            return {"total": [ctx.comm.allreduce(float(table["value"].sum()) * scale.value[0])]}

        got = session.range(101).bsp(step, schema={"total": pl.Float64}).collect()
        assert set(got["total"]) == {3.0 * 5050} and rows.value == 101
        with pytest.raises(hf.ConfigError, match="known on the driver"):
            session.range(3).foreach_partition(lambda df: rows.value)

    run_session_mpi(job, step_timeout_s=30)
