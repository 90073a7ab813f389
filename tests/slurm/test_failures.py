"""Why jobs fail, on a Slurm with accounting that watches memory: what is told of each kind, and which retry it gets. The cases are in failures.py."""

from __future__ import annotations

import subprocess
import time

import pytest

from hpcflow.launch.executors.base import JobHandle, JobState
from hpcflow.launch.executors.slurm import SlurmExecutor

pytestmark = pytest.mark.slurm


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("memory", ["out of memory"]),
        ("memory with budget", ["out of memory", None]),
        ("memory of a rank", ["out of memory"]),
        ("memory in a group", ["out of memory"]),
        ("other budget", ["program error"]),
        ("node with budget", ["node failure", None]),
        ("node, Slurm's turn", ["node failure", None]),
        ("stop", ["stopped to be continued", None]),
        ("limit", ["timeout"]),
        ("limit with budget", ["timeout", None]),
    ],
)
def test_the_kind_of_each_failure_is_told_and_its_budget_kept(failing_cases, name, classes):
    assert failing_cases.classes(name) == classes
    assert failing_cases.state(name).value == ("succeeded" if classes[-1] is None else "failed")


def test_a_group_s_other_command_goes_on_when_one_takes_too_much_memory(failing_cases):
    failing_cases.attempts("memory in a group")
    directory = failing_cases.experiments["memory in a group"].directory / "tasks" / "0000-task" / "attempts" / "1"
    assert (directory / "logs" / "script-2.txt").read_text().splitlines()[-1] == "unharmed"
    assert [(directory / "commands" / f"{i}.exit").read_text().strip() for i in range(2)] == ["137", "0"]


def test_a_job_that_was_told_to_stop_goes_on_from_its_state_as_the_same_job(failing_cases):
    first, second = failing_cases.attempts("stop")
    assert (first.status.code, second.status.code) == (75, 0)
    folder = failing_cases.experiments["stop"].directory / "tasks" / "0000-task" / "attempts"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]  # the driver submitted nothing of its own
    state = int((failing_cases.root / "stop.state").read_text())
    assert (folder / "2" / "logs" / "log.txt").read_text().splitlines()[-1] == f"from step {state} in attempt 2" and state > 10


def test_a_job_of_a_lost_node_runs_on_the_other_one(failing_cases):
    (lost, again) = failing_cases.attempts("node with budget")
    assert lost.status.code is None and again.status.code == 0
    sacct = ["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", "--starttime=now-1hours", "--format=JobName%100,State,NodeList"]
    id = failing_cases.experiments["node with budget"].id
    found: list[list[str]] = []
    deadline = time.monotonic() + 30
    while not any(state == "COMPLETED" for state, _ in found):  # the job's own exit file is there before the accounting of it
        assert time.monotonic() < deadline, found
        lines = subprocess.run(sacct, env=failing_cases.cluster.environment, capture_output=True, text=True, check=True).stdout.splitlines()
        found = [line.split("|")[1:] for line in lines if f".{id}-" in line]
        time.sleep(0.2)
    assert found == [["NODE_FAIL", "n2"], ["COMPLETED", "n1"]]


def test_accounting_tells_of_jobs_that_slurm_itself_has_forgotten(failing_cases):
    handles = failing_cases.forgotten
    environment = failing_cases.cluster.environment
    deadline = time.monotonic() + 120
    while True:
        known = subprocess.run(["squeue", "--noheader", "--states=all", "--format=%A"], env=environment, capture_output=True, text=True, check=True)
        if not {handle.id for handle in handles.values()} & set(known.stdout.split()):
            break
        assert time.monotonic() < deadline, known
        time.sleep(1)
    nobody = JobHandle("nobody-1", str(failing_cases.root / "nobody" / "1"), "999999")
    with failing_cases.there():
        found = SlurmExecutor().states([*handles.values(), nobody])
    told = {name: (found[handle.key].state, found[handle.key].code) for name, handle in handles.items()}
    assert told == {"shell killed": (JobState.FAILED, 137), "no file": (JobState.FAILED, 0), "cancelled": (JobState.CANCELLED, None)}, found
    assert "no exit file" in found[handles["no file"].key].reason
    assert found["nobody-1"].state is JobState.CANCELLED and "never begun" in found["nobody-1"].reason
