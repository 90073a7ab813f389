"""SlurmExecutor on a real Slurm."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.executors.base import FailureClass, JobState
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import SlurmFields
from hpcflow.launch.request import Command
from hpcflow.testing.executor_contract import Jobs, check_executor, log

pytestmark = pytest.mark.slurm


@pytest.fixture
def here(slurm, monkeypatch):
    """This process submits to the test cluster."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    return slurm


def test_contract(here, tmp_path):
    check_executor(SlurmExecutor(ntasks=1, overcommit=True, mem="200M"), tmp_path)


def _shown(here, id: str) -> str:
    return subprocess.run(["scontrol", "show", "job", id, "-o"], env=here.environment, capture_output=True, text=True, check=True).stdout


TEXT_FIELDS = [field.name for field in fields(SlurmFields) if "str" in str(field.type)]
INJECTIONS = [
    """x" --comment=INJECTED --wrap="touch RAN" """,
    """x' --comment=INJECTED '""",
    """x\\" --comment=INJECTED \\" """,
    "x --comment=INJECTED",
    "x;touch${IFS}RAN; $(touch RAN) `touch RAN` #",
]


@pytest.mark.parametrize("name", TEXT_FIELDS)
def test_no_field_lets_its_value_become_another_option_or_a_command(here, tmp_path, monkeypatch, name):
    """Each text is refused by us, refused by sbatch as a value of that very option, or kept as the value."""
    monkeypatch.chdir(tmp_path)
    for number, text in enumerate(INJECTIONS):
        text = text.replace("RAN", str(tmp_path / "ran"))
        value = (text,) if name == "mail_type" else text
        try:
            executor = SlurmExecutor(**{"begin": "now+1hour", name: value})
            jobs = Jobs(executor, tmp_path / str(number))
            handle = jobs.submit(jobs.request("t", "touch", str(tmp_path / "ran")))
        except (ConfigError, LaunchError) as error:
            assert isinstance(error, ConfigError) or "sbatch refused" in str(error), error
            continue
        shown = _shown(here, handle.id)
        subprocess.run(["scancel", handle.id], env=here.environment, check=True)
        assert name == "comment" or "Comment=INJECTED" not in shown, shown
        assert name != "comment" or f"Comment={text.rstrip()}" in shown, shown
        assert f"Command={handle.directory}/script.sh" in shown, shown
    assert not list(tmp_path.rglob("ran"))


def test_values_that_could_begin_a_line_are_refused():
    for bad in ("a\nb", "a\r#SBATCH --wrap=id", "\x00", "a\u2028b"):
        with pytest.raises(ConfigError, match="control character"):
            SlurmExecutor(comment=bad)


def test_no_variable_travels_but_those_named(here, tmp_path, monkeypatch):
    monkeypatch.setenv("HIDDEN", "x")
    monkeypatch.setenv("NAMED", "a 'b' $c")
    jobs = Jobs(SlurmExecutor(exports=("PATH", "NAMED"), env={"GIVEN": "g"}, mem="100M"), tmp_path)
    handle = jobs.shell("variables", 'echo "${HIDDEN-none}|$NAMED|$GIVEN|$SLURM_JOB_ID"')
    jobs.wait([handle])
    assert log(handle).strip() == f"none|a 'b' $c|g|{handle.id}"


def test_ranks_of_srun_see_one_world_and_have_a_log_each(here, tmp_path):
    jobs = Jobs(SlurmExecutor(nodes=1, overcommit=True, mem="800M"), tmp_path)
    code = "from mpi4py import MPI; c = MPI.COMM_WORLD; print(c.allreduce(c.rank + 1), 'of', c.size)"
    handle = jobs.submit(jobs.request("world", commands=(Command((sys.executable, "-c", code), launcher="mpi"),), ntasks=2))
    (status,) = jobs.wait([handle])
    assert status.state is JobState.SUCCEEDED, (log(handle), list(Path(handle.directory, "logs").iterdir()))
    assert [log(handle, f"main-rank-{rank}.txt").strip() for rank in range(2)] == ["3 of 2", "3 of 2"]


def test_a_job_that_is_told_to_stop_is_queued_again_and_goes_on(here, tmp_path):
    """USR1 before the limit -> the stop file -> exit status 75 -> scontrol requeue -> a second attempt with a record of its own."""
    jobs = Jobs(SlurmExecutor(mem="100M"), tmp_path)
    script = f"""
        if [ -e {tmp_path}/checkpoint ]; then echo resumed; exit 0; fi
        echo waiting; while [ ! -e "$HPCFLOW_STOP_FILE" ]; do sleep 0.1; done
        touch {tmp_path}/checkpoint; exit 75"""
    handle = jobs.shell("checkpoint", script, stop_budget=1)
    jobs.wait([handle], lambda status: status.state is JobState.RUNNING)
    deadline = time.monotonic() + 30
    while "waiting" not in log(handle):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    subprocess.run(["scancel", "--batch", "--signal=USR1", handle.id], env=here.environment, check=True)
    first = json.loads(_eventually(Path(handle.directory) / "exit.json"))
    assert (first["code"], first["stopping"]) == (75, True)
    second = Path(handle.directory).parent / "2"
    deadline = time.monotonic() + 60
    while not (second / "exit.json").exists():
        here.hurry(handle.id)
        assert time.monotonic() < deadline, _shown(here, handle.id)
        time.sleep(0.3)
    assert json.loads((second / "exit.json").read_text())["code"] == 0
    assert (second / "logs" / "log.txt").read_text().strip() == "resumed"


def test_a_job_may_wait_for_the_failure_of_another(here, tmp_path):
    jobs = Jobs(SlurmExecutor(mem="100M"), tmp_path)
    bad = jobs.shell("bad", "exit 5")
    dependent = Jobs(SlurmExecutor(mem="100M", dependency={"afternotok": (bad.id,)}), tmp_path / "b")
    after = dependent.shell("after", "echo came")
    assert jobs.wait([bad])[0].failure is FailureClass.PROGRAM
    assert dependent.wait([after])[0].state is JobState.SUCCEEDED


def _eventually(path: Path, limit_s: float = 30.0) -> str:
    deadline = time.monotonic() + limit_s
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.1)
    return path.read_text()
