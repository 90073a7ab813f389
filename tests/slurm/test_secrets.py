"""Secrets of the submitting process in Slurm jobs: they arrive, in the commands they are meant for, and are to be found nowhere else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpcflow import launch
from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.config.script import Script
from hpcflow.launch.config.secret import Secret
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment.experiment import Experiment
from tests.launch import tasks_of_tests as tasks
from tests.slurm.experiments import SMALL, states, wait
from tests.until import until

pytestmark = pytest.mark.slurm
VARIABLE = "MY_VALUE"  # a name that speaks of no secret: nothing hides it but that it is one
PROJECT = Path(__file__).parents[2]
SHOWS = 'printf %s "$MY_VALUE" | md5sum | cut -c1-8'


@pytest.fixture
def value(at_home, monkeypatch):
    found = f"sécret-{os.urandom(8).hex()}\n'of' two \"lines\" "
    monkeypatch.setenv(VARIABLE, found)
    yield found
    subprocess.run(["scancel", "--signal=KILL", "--full", "--me"], capture_output=True, check=False)  # what a failing test has left


def fingerprint(value):
    return subprocess.run(
        ["/bin/sh", "-c", SHOWS], env={"PATH": os.environ["PATH"], VARIABLE: value}, capture_output=True, text=True, check=True
    ).stdout


def files_with(value, *folders):
    needle = value.partition("\n")[0].encode()
    return [
        path for folder in folders for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink() and needle in path.read_bytes()
    ]


def processes_with(value):
    """The command lines of each process whose environment holds the value, and of all above it, as one text."""
    needle, found = value.partition("\n")[0].encode(), []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and needle in (entry / "environ").read_bytes():
                found.append(_line_of(int(entry.name)))
            assert not entry.name.isdigit() or needle not in (entry / "cmdline").read_bytes()
    return found


def _line_of(pid):
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return words if parent <= 1 else f"{words} < {_line_of(parent)}"


def said_by_slurm():
    words = (["scontrol", "show", "job", "--details"], ["squeue", "--states=all", "-o", "%all"])
    return "".join(subprocess.run(each, capture_output=True, text=True, check=True).stdout for each in words)


HOLDS = f"{SHOWS}; : of a secret; while [ ! -e go ]; do sleep 0.1; done"
LACKS = f"echo ${{{VARIABLE}-none}}; while [ ! -e go ]; do sleep 0.1; done"
GIVEN = {VARIABLE: Secret.variable(VARIABLE)}


def test_values_that_are_handed_over_reach_their_commands_and_are_nowhere_else(slurm, at_home, value):
    exp = Experiment("secrets", executor=SlurmExecutor(**SMALL, hand_over=(VARIABLE,)))
    for name in ("one", "two"):  # an array
        exp.add(Script(inline=HOLDS, env=GIVEN), name=name)
    for mode, ntasks in (("sequential", 1), ("parallel", 2)):
        exp.add([Script(inline=HOLDS, env=GIVEN), Script(inline=LACKS)], name=mode, mode=mode, ntasks=ntasks, mem="200M")
    exp.add(Script(inline="true", env=GIVEN), name="held", begin="now+1hour")
    exp.add(Script(inline="true", env=GIVEN), name="refused", partition="nowhere")
    assert value not in exp.dryrun()
    with pytest.raises(LaunchError, match="nowhere"):
        exp.run(detach=True)

    held = exp.directory / "tasks/0004-held/attempts/1/secrets" / VARIABLE
    assert held.read_text() == value and held.stat().st_mode & 0o777 == 0o600 and held.parent.stat().st_mode & 0o777 == 0o700
    until(lambda: all("running" in state for name, state in states(exp).items() if name in ("one", "two", "parallel")))
    until(lambda: exp.logs("one") and exp.logs("two") and len(exp.logs("parallel").split()) == 2)
    with_it = processes_with(value)
    assert len(with_it) >= 3 and all(": of a secret" in words for words in with_it), with_it
    assert value.partition("\n")[0] not in said_by_slurm()
    (at_home / "go").touch()
    until(lambda: [states(exp)[name] for name in ("one", "two", "sequential", "parallel")] == ["succeeded"] * 4)
    mine = fingerprint(value)
    assert exp.logs("one") == exp.logs("two") == mine
    for name in ("sequential", "parallel"):
        assert (exp.logs(name, command=0), exp.logs(name, command=1)) == (mine, "none\n")
    assert files_with(value, at_home, slurm.directory) == [held]
    exp.cancel(["held"])
    assert files_with(value, at_home, slurm.directory) == []
    wait(exp)
    assert states(exp)["refused"] == "failed" and not list(exp.directory.rglob("secrets"))


def test_a_function_s_secret_arrives_and_a_job_that_slurm_runs_again_has_it_once_more(slurm, at_home, value, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    exp = Experiment("again", executor=SlurmExecutor(**SMALL, hand_over=(VARIABLE,), exports=("PATH", "PYTHONPATH"), python=sys.executable))
    function = exp.add(launch.Partial(tasks.with_token, launch.Secret.variable(VARIABLE)), name="function")
    exp.add(Script(inline=f'{SHOWS}; [ "$HPCFLOW_ATTEMPT" = 2 ] || exit 75', env=GIVEN), name="t", retries={"stopped to be continued": 1})
    exp.run(detach=True)
    stopped = exp.directory / "tasks/0001-t/attempts"
    until(lambda: (stopped / "1/exit.json").exists())
    assert files_with(value, stopped, slurm.directory) == [stopped / "2/secrets" / VARIABLE]

    def over():
        slurm.hurry()
        return states(exp)["t"] == "succeeded"

    until(over, 90, look_s=0.2)
    assert all(exp.logs("t", attempt=n).startswith(fingerprint(value)) for n in (1, 2))  # slurmstepd may add a line to the first
    assert function.result() == len(value)
    assert files_with(value, at_home, slurm.directory) == []


def test_a_variable_that_is_not_handed_over_is_refused_and_so_is_writing_it_into_the_script(at_home, value):
    exp = Experiment("refused", executor=SlurmExecutor())
    for task in (
        Script(inline="true", env=GIVEN),
        [Script(inline="true", env=GIVEN)] * 2,
        launch.Partial(tasks.with_token, Secret.variable(VARIABLE)),
    ):
        with pytest.raises(
            ConfigError, match=r"inherits no variable .* Secret\.file or Secret\.command, or SlurmExecutor\(hand_over=\('MY_VALUE',\)\)"
        ):
            exp.add(task)
    for fields in ({"exports": ("PATH", VARIABLE)}, {"env": {VARIABLE: "x"}}):
        with pytest.raises(ConfigError, match="write values into the job's script"):
            exp.add(Script(inline="true", env=GIVEN), hand_over=(VARIABLE,), **fields)
    with pytest.raises(ConfigError, match="handed over once"):
        SlurmExecutor(hand_over=(VARIABLE,), requeue=True)


def test_a_variable_that_is_not_set_where_the_job_is_submitted_is_told(at_home):
    exp = Experiment("unset", executor=SlurmExecutor(**SMALL, hand_over=("NOT_SET_HERE",)))
    exp.add(Script(inline="true", env={"T": Secret.variable("NOT_SET_HERE")}), name="t")
    with pytest.raises(LaunchError, match="variable NOT_SET_HERE is not set where the job is submitted"):
        exp.run(detach=True)
    assert states(exp) == {"t": "failed"}
