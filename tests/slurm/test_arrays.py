"""Fan-outs on a real Slurm: one array, whose elements have claims, logs, ends, retries and cancels of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcflow import launch
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment.experiment import Experiment
from tests.launch import tasks_of_tests as tasks
from tests.slurm.experiments import SMALL, sh, states, wait

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("at_home")]
PROJECT = Path(__file__).parents[2]


def ids(experiment):
    return [handle.id for handle in experiment._written().view().handles.values()]


def eventually(holds, limit_s=30.0):
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_fan_out_is_one_array_without_a_driver_and_what_gathers_it_waits_for_all(at_home):
    exp = Experiment("fan out", executor=SlurmExecutor(**SMALL, array_limit=2))
    parts = [exp.add(sh(f"echo part {i}; echo {i} >>parts"), name=f"part {i}") for i in range(5)]
    exp.add(sh("sort parts | tr -d '\\n' >all"), name="gather", dependencies=parts)
    exp.add(sh("echo never"), name="never", dependencies=parts[:2], condition="any_failed")
    exp.run(detach=True)
    array = {id.partition("_")[0] for id in ids(exp)[:5]}
    assert len(array) == 1 and ids(exp)[:5] == [f"{next(iter(array))}_{i}" for i in range(5)]
    (batch,) = (exp.directory / "arrays").iterdir()
    assert "--array=0-4%2\n" in (batch / "script.sh").read_text()
    assert f"afterok:{next(iter(array))}\n" in (exp.directory / "tasks/0005-gather/attempts/1/script.sh").read_text()
    wait(exp)
    assert states(exp) == {**{f"part {i}": "succeeded" for i in range(5)}, "gather": "succeeded", "never": "skipped"}
    assert (at_home / "all").read_text() == "01234"
    assert [exp.logs(f"part {i}") for i in range(5)] == [f"part {i}\n" for i in range(5)]
    claims = [json.loads((exp.directory / f"tasks/000{i}-part-{i}/attempts/1/claim.json").read_text()) for i in range(5)]
    assert [claim["job_id"] for claim in claims] == ids(exp)[:5]


def test_elements_that_failed_are_tried_again_and_others_are_cancelled_one_by_one(at_home):
    exp = Experiment("elements", executor=SlurmExecutor(**SMALL))
    for i in range(3):
        exp.add(sh(f"test -e once-{i} || {{ touch once-{i}; exit {i}; }}"), name=f"t{i}", retries=1, backoff_s=0.1)
    long = [exp.add(sh("echo started; exec sleep 300"), name=f"long{i}", retries=1, cpus_per_task=1) for i in range(2)]
    exp.add(sh("true"), name="after", dependencies=long[:1])
    exp.run(detach=True)
    eventually(lambda: "started" in exp.logs("long0") and "started" in exp.logs("long1"))
    exp.cancel(["long0"])
    eventually(lambda: states(exp)["long0"] == "cancelled")
    eventually(lambda: all(states(exp)[f"t{i}"] == "succeeded" for i in range(3)), 60)
    assert states(exp)["long1"] == "running"
    exp.cancel()
    wait(exp)
    assert states(exp) == {"t0": "succeeded", "t1": "succeeded", "t2": "succeeded", "long0": "cancelled", "long1": "cancelled", "after": "cancelled"}
    attempts = {name: [a.status.code for a in found] for name, found in exp._written().view().attempts.items()}
    assert [attempts[f"t{i}"] for i in range(3)] == [[0], [1, 0], [2, 0]]
    first = ids(exp)[0].partition("_")[0]
    assert first not in {ids(exp)[i].partition("_")[0] for i in (1, 2)}  # retries are jobs of their own


def test_map_is_one_array_and_gives_results_in_order(at_home, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    executor = SlurmExecutor(**SMALL, exports=("PATH", "PYTHONPATH"), python=sys.executable)
    assert launch.map(tasks.square, [3, 1, 2], executor=executor) == [9, 1, 4]
    (experiment,) = (at_home / "home" / "experiments").iterdir()
    assert len(list((experiment / "arrays").iterdir())) == 1


def test_an_element_that_is_told_to_stop_is_queued_again_and_goes_on(slurm, at_home):
    exp = Experiment("stops", executor=SlurmExecutor(**SMALL))
    script = """
        if [ -e saved-{i} ]; then echo resumed; exit 0; fi
        echo waiting; while [ ! -e "$HPCFLOW_STOP_FILE" ]; do sleep 0.1; done; touch saved-{i}; exit 75"""
    for i in range(2):
        exp.add(sh(script.format(i=i)), name=f"t{i}", retries={"stopped to be continued": 1})
    exp.run(detach=True)
    eventually(lambda: all("waiting" in exp.logs(f"t{i}") for i in range(2)), 60)
    subprocess.run(["scancel", "--batch", "--signal=USR1", *ids(exp)], env=slurm.environment, check=True)
    again = [exp.directory / f"tasks/000{i}-t{i}/attempts/2" for i in range(2)]
    first = ids(exp)

    eventually(lambda: all((exp.directory / f"tasks/000{i}-t{i}/attempts/1/exit.json").exists() for i in range(2)))
    time.sleep(3)  # a node that is told to run a job again within the second in which it ended the job refuses

    def over():
        for id in first:
            subprocess.run(["scontrol", "update", f"JobId={id}", "StartTime=now"], env=slurm.environment, capture_output=True, check=False)
        return all((directory / "exit.json").exists() for directory in again)

    eventually(over, 60)
    assert states(exp) == {"t0": "succeeded", "t1": "succeeded"}
    assert [json.loads((directory / "submitted.json").read_text())["id"] for directory in again] == first
    assert [exp.logs(f"t{i}") for i in range(2)] == ["resumed\n", "resumed\n"]


SUBMIT = """
import sys
from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment.experiment import Experiment
exp = Experiment(sys.argv[1], executor=SlurmExecutor(mem="50M", overcommit=True))
for i in range(8):
    exp.add(Script(inline=f"echo {i} >>{sys.argv[1]}"), name=f"t{i}", retries=1)
print(exp.directory, flush=True)
exp.run()
"""


@pytest.mark.thorough
def test_a_driver_that_is_killed_while_it_submits_arrays_is_replaced_and_no_element_is_lost_or_doubled(at_home):
    chance = random.Random(11)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    opened: list[tuple[str, Path]] = []
    for number in range(10):
        name = f"run{number}"
        child = subprocess.Popen([sys.executable, "-c", SUBMIT, name], stdout=subprocess.PIPE, text=True, cwd=at_home, env=environment)
        assert child.stdout is not None
        directory = Path(child.stdout.readline().strip())
        eventually((directory / "experiment.json").exists)
        time.sleep(chance.uniform(0.0, 0.3))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        opened.append((name, directory))
    argv = [sys.executable, "-m", "hpcflow.launch.experiment.driver"]
    supervisors = [subprocess.Popen([*argv, str(directory)], env=environment, cwd=at_home) for _, directory in opened]
    assert [supervisor.wait(150) for supervisor in supervisors] == [0] * len(opened)
    for name, _ in opened:
        assert sorted((at_home / name).read_text().split()) == [str(i) for i in range(8)], name
