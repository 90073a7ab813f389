"""hpcflow's own programs as tracked tasks of this host: both job modes, and a rank that is killed in the first attempt."""

from __future__ import annotations

import sys

import pytest

from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.experiment.experiment import Experiment
from tests.launch.hpcflow_jobs import ENV, both_modes, check

pytestmark = pytest.mark.faults

LOSES_A_WORKER = """
import os, pathlib
import hpcflow as hf, polars as pl

def once(df):
    if not pathlib.Path("lost").exists():
        pathlib.Path("lost").touch()
        os.kill(os.getpid(), 9)
    return df

with hf.Session(progress="off") as s:
    print("rows", s.range(100).repartition(4).map_batches(once, schema={"value": pl.Int64}).count(), flush=True)
"""


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_of_both_job_modes_are_tracked(at_home):
    exp = both_modes(LocalExecutor(cores=3), at_home / "data", launcher="mpi", ntasks=3)
    exp.run()
    check(exp)


def test_a_task_that_loses_a_worker_fails_and_is_tried_again(at_home):
    (at_home / "job.py").write_text(LOSES_A_WORKER)
    exp = Experiment("lost", executor=LocalExecutor(cores=3))
    exp.add(Script("job.py", env=ENV, interpreter=[sys.executable]), name="job", launcher="mpi", ntasks=3, retries=1, backoff_s=0.1)
    exp.run()
    attempts = exp._written().view().attempts["job"]
    assert [attempt.status.state.value for attempt in attempts] == ["failed", "succeeded"], exp.logs("job")
    assert "rows 100" in exp.logs("job", rank=0) and exp.exit_status() == 0
