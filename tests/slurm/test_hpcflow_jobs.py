"""hpcflow's own examples in both job modes as a tracked experiment on a real Slurm."""

from __future__ import annotations

import sys
import time

import pytest

from hpcflow.launch.executors.slurm import SlurmExecutor
from tests.launch.hpcflow_jobs import both_modes, check
from tests.slurm.conftest import MPICH

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not MPICH, reason="the Open MPI wheel speaks no pmi2, and pmix hangs over virtual nodes of one host"),
]


@pytest.fixture
def at_home(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_of_both_job_modes_are_tracked_without_a_driver(at_home):
    """Two nodes, srun for the ranks; what follows waits for both by Slurm's own dependency."""
    executor = SlurmExecutor(mem="900M", overcommit=True, python=sys.executable, env={"MPIR_CVAR_NOLOCAL": "1"})  # virtual nodes share /dev/shm
    exp = both_modes(executor, at_home / "data", nodes=2, ntasks=3, launcher="srun")
    exp.run(detach=True)
    assert not (exp.directory / "driver.log").exists()
    deadline = time.monotonic() + 150
    while not all(state.final for state in exp.status(refresh=True).values()):
        for stamp in (exp.directory.parents[1]).glob("asked-*"):
            stamp.unlink(missing_ok=True)
        assert time.monotonic() < deadline, (exp.status(), {name: exp.logs(name) for name in exp.status()})
        time.sleep(0.5)
    check(exp)
