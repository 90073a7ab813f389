"""Jobs as processes of this host."""

from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.request import Command, JobRequest
from hpcflow.testing.executor_contract import check_executor


def test_contract(tmp_path):
    check_executor(LocalExecutor(cores=4), tmp_path)


def _wants(**fields):
    return JobRequest(key="hf-1", task="t", attempt=1, directory="/nowhere/1", commands=(Command(("true",)),), **fields)


def test_the_budget_admits_what_fits_beside_what_runs():
    executor = LocalExecutor(cores=4, memory_mb=1000)
    two = _wants(cpus_per_task=2, memory_mb=600)
    assert executor.admits(two, [])
    assert executor.admits(_wants(memory_mb=400), [two])
    assert not executor.admits(_wants(cpus_per_task=3), [two])
    assert not executor.admits(_wants(memory_mb=500), [two])
