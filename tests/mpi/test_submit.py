"""Actions in flight over MPI: mpirun -n 3 python -m pytest --with-mpi tests/mpi. The same facts as tests/api/test_submit.py, between ranks."""

import concurrent.futures
import time

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.testing.session import run_session_mpi

pytestmark = pytest.mark.mpi


def test_futures_share_the_workers():
    def job(session):
        futures = [session.range(1000 * n).repartition(5, by="value").submit("count") for n in range(1, 9)]
        assert set(concurrent.futures.as_completed(futures, timeout=60)) == set(futures)
        return [future.result() for future in futures]

    assert run_session_mpi(job) == [1000 * n for n in range(1, 9)]


def test_a_cancelled_action_is_let_go_by_all_workers():
    def slow(df):
        time.sleep(0.2)
        return df

    def job(session):
        data = session.range(1000).with_property(parallelism=100).map_batches(slow, schema={"value": pl.Int64})
        future = data.repartition(8, by="value").submit()
        time.sleep(0.3)
        other = session.range(50).submit("count")
        assert future.cancel() and future.cancelled()
        assert other.result(30) == 50 and future.wait_released(30)
        assert not session._cluster.master._running
        with pytest.raises(hf.ActionCancelledError):
            future.result()
        return session.range(70).count()

    assert run_session_mpi(job) == 70


def test_a_short_action_overtakes_a_long_one():
    def slow(df):
        time.sleep(0.02)
        return df

    def job(session):
        long = session.range(1000).with_property(parallelism=200).map_batches(slow, schema={"value": pl.Int64}).submit("count")
        time.sleep(0.1)
        assert session.range(10).map_batches(slow, schema={"value": pl.Int64}).count() == 10
        overtaken = not long.done()
        return overtaken, long.result(60)

    assert run_session_mpi(job) == (True, 1000)
