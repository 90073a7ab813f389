"""Steps of one job with ranks, cores and memory of their own: Slurm runs them at the same time, each with its share."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

from hpcflow.launch import Experiment, Script, SlurmExecutor, Step
from hpcflow.testing.slurm import SlurmCluster
from tests.slurm.conftest import MPICH
from tests.slurm.experiments import wait

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(not MPICH, reason="srun starts no Open MPI world here")]

SHARE = "echo $SLURM_CPUS_PER_TASK cores, $SLURM_STEP_NUM_TASKS ranks; touch $SLURM_PROCID.$NAME; until [ -e go ]; do sleep 0.1; done"


def _shares(job: str) -> set[tuple[str, str, str]]:
    """(tasks, CPUs, memory) that Slurm says each running step of a job has."""
    answer = subprocess.run(["scontrol", "show", "step", job, "--oneliner"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in answer.splitlines() if "State=RUNNING" in line and ".batch" not in line and ".extern" not in line]
    found = [re.search(r"Tasks=(\d+).*TRES=cpu=(\d+),mem=(\d+)M", line) for line in lines]
    return {match.groups() for match in found if match}  # type: ignore[misc]


def test_steps_with_own_cores_and_memory_run_at_the_same_time_each_with_its_share(accounting_slurm: SlurmCluster, tmp_path, monkeypatch) -> None:
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, accounting_slurm.environment[name])
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def step(name: str, text: str = SHARE, **needs: object) -> Step:
        return Step(Script(inline=text, env={"NAME": name}), name=name, **needs)  # type: ignore[arg-type]

    exp = Experiment("shares", executor=SlurmExecutor(nodelist="n1"))
    steps = [
        step("large", cpus_per_task=2, memory_mb=200),
        step("small", f"{SHARE}; exit 4", cpus_per_task=1, memory_mb=100),
        step("ranks", ntasks=2, launcher="srun", cpus_per_task=1, memory_mb=60),
        step("long", f"{SHARE}; exec sleep 300", cpus_per_task=1, memory_mb=50),
        step("world", ntasks=2, launcher="mpirun", cpus_per_task=1, memory_mb=70),
    ]
    exp.add(steps, name="group", mode="parallel", on_failure="continue")
    exp.run(detach=True)
    begun = {"0.large", "0.small", "0.ranks", "1.ranks", "0.long", "0.world"}
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() for name in begun):
        assert time.monotonic() < deadline, (exp.logs("group"), exp.status())
        time.sleep(0.1)
    handle = exp._written().view().handles["group"]
    assert handle is not None
    assert _shares(handle.id) == {("1", "2", "200"), ("1", "1", "100"), ("2", "2", "60"), ("1", "1", "50"), ("1", "2", "70")}
    exp.cancel_command("group", "long")
    (tmp_path / "go").touch()
    wait(exp)
    ends = {row.name: (row.state, row.code if (row.code or 0) < 128 else "a signal") for row in exp.commands("group")}
    good = dict.fromkeys(("large", "ranks", "world"), ("succeeded", 0))
    assert ends == {**good, "small": ("failed", 4), "long": ("cancelled", "a signal")}
    said = {name: exp.logs("group", command=name).splitlines()[0] for name in ("large", "small", "ranks")}
    assert said == {"large": "2 cores, 1 ranks", "small": "1 cores, 1 ranks", "ranks": "1 cores, 2 ranks"}
    assert [exp.logs("group", command="world", rank=rank) for rank in (0, 1)] == ["2 cores, 1 ranks\n"] * 2  # mpirun's step, which holds them


def test_steps_with_own_gpus_run_at_the_same_time_on_different_ones(equipped_slurm: SlurmCluster, tmp_path, monkeypatch) -> None:
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, equipped_slurm.environment[name])
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    meet = "touch $0; until [ -e left ] && [ -e right ] && [ -e none ]; do sleep 0.1; done; echo visible:$CUDA_VISIBLE_DEVICES"
    steps = [
        Step(Script(inline=meet.replace("$0", name)), name=name, gpus=gpus, memory_mb=50)
        for name, gpus in (("left", 1), ("right", 1), ("none", None))
    ]
    exp = Experiment("gpus", executor=SlurmExecutor(time="5"))
    exp.add(steps, name="group", mode="parallel")
    exp.run(detach=True, quiet=True)
    wait(exp, 60)
    assert exp.status()["group"].value == "succeeded", exp.logs("group")
    seen = {name: exp.logs("group", command=name).strip() for name in ("left", "right", "none")}
    assert {seen["left"], seen["right"]} == {"visible:0", "visible:1"} and seen["none"] == "visible:"
