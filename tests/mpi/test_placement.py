"""Placement and binding on real ranks: who runs what, and which CPUs worker processes bind themselves to."""

import contextlib
import os
from pathlib import Path

import polars as pl
import pytest

from hpcflow.resources import physical_cores
from hpcflow.testing.run import world_size
from hpcflow.testing.session import run_session_mpi

pytestmark = pytest.mark.mpi


def cpus_of_each_worker(session):
    """Worker -> CPUs of the thread that runs its task."""
    count = session.workers
    asked = session.range(count).with_property(parallelism=count, placement="round_robin")
    schema = {"value": pl.Int64, "cpus": pl.List(pl.Int64)}
    rows = asked.map_batches(lambda df: df.with_columns(cpus=pl.Series([sorted(os.sched_getaffinity(0))] * df.height)), schema=schema).collect()
    return [frozenset(cpus) for cpus in rows["cpus"]]


@pytest.fixture
def unbound():
    """Every rank may use what the job may use, as after `mpirun --bind-to none`; afterwards too."""
    everything = frozenset(cpu for core in physical_cores(frozenset(range(os.cpu_count() or 1))) for cpu in core)

    def free():
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), everything)

    free()
    yield
    free()


def test_workers_bind_themselves_only_where_all_get_cores(unbound):
    workers = max(1, world_size() - 1)
    before = frozenset(os.sched_getaffinity(0))
    assert run_session_mpi(cpus_of_each_worker, bind="none") == [before] * workers
    after = run_session_mpi(cpus_of_each_worker, bind="auto")
    if 1 < workers <= len(physical_cores(before)) and pl.thread_pool_size() == 1:
        assert sum(map(len, after)) == len(frozenset().union(*after)) <= len(before)
    else:
        assert after == [before] * workers


def test_round_robin_is_kept_between_ranks():
    def job(session):
        ranks = session.range(90).with_property(parallelism=9, placement="round_robin")
        pids = ranks.map_batches(lambda df: pl.DataFrame({"pid": [os.getpid()]}), schema={"pid": pl.Int64}).collect()["pid"].to_list()
        return pids, session.workers

    pids, workers = run_session_mpi(job)
    assert pids == (pids[:workers] * 9)[:9] and len(set(pids)) == min(workers, 9)
