"""Jobs as processes of this host."""

from hpcflow.launch.executors.local import GPU_VARIABLE, LocalExecutor
from hpcflow.launch.request import Command, JobRequest
from hpcflow.testing.executor_contract import check_executor


def test_contract(tmp_path):
    check_executor(LocalExecutor(cores=4), tmp_path)


def _wants(**fields):
    return JobRequest(key="hf-1", task="t", attempt=1, directory="/nowhere/1", commands=(Command(("true",)),), **fields)


def test_the_budget_admits_what_fits_beside_what_runs():
    executor = LocalExecutor(cores=4, memory_mb=1000)
    two = _wants(cpus_per_task=2, memory_mb=600)
    assert executor.place(two, []) == two
    assert executor.place(_wants(memory_mb=400), [two]) is not None
    assert executor.place(_wants(cpus_per_task=3), [two]) is None
    assert executor.place(_wants(memory_mb=500), [two]) is None


def test_each_task_gets_gpus_of_its_own():
    executor = LocalExecutor(cores=8, gpus=("3", "5", "7"))
    first = executor.place(_wants(gpus=2), [])
    second = executor.place(_wants(gpus=1), [first])
    assert [r.environment[GPU_VARIABLE] for r in (first, second)] == ["3,5", "7"]
    assert executor.place(_wants(gpus=1), [first, second]) is None
    assert executor.place(_wants(), [first, second]).environment[GPU_VARIABLE] == ""
    assert executor.place(_wants(gpus=1), [second]).environment[GPU_VARIABLE] == "3"
