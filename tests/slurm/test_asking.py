"""Asking a real Slurm: no answer changes nothing and costs no retry, and all experiments of a user share one question."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from hpcflow.launch.executors import slurm_commands
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment import driver
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.experiment.records import Records
from tests.launch.slurm_programs import SlurmPrograms
from tests.slurm.experiments import SMALL, sh, states, wait
from tests.until import until

pytestmark = pytest.mark.slurm


@pytest.fixture
def programs(slurm, at_home, monkeypatch):
    """Slurm's programs as everybody calls them here, each with a wrapper that can break it."""
    found = SlurmPrograms(at_home / "bin", real=slurm.environment["PATH"])
    monkeypatch.setenv("PATH", found.path)
    return found


def events(experiment, event):
    return [record for record in experiment._written().events() if record["event"] == event]


def test_a_job_that_nobody_answers_for_keeps_its_state_and_its_retry(at_home, programs):
    exp = Experiment("no answers", executor=SlurmExecutor(**SMALL))
    exp.add(sh("[ ! -e once ] || exit 0; touch once; kill -KILL $PPID; sleep 60"), name="t", retries=1, backoff_s=0.1)
    programs.answer("squeue", "")  # as when Slurm has forgotten the job
    programs.fail("scontrol")
    programs.fail("sacct")
    exp.run(detach=True)
    until(lambda: events(exp, "query failed") and (at_home / "once").exists())
    (failed,) = events(exp, "query failed")
    assert "scontrol" in failed["message"] and "sacct" in failed["message"]
    assert states(exp)["t"] in ("pending", "running") and not events(exp, "observed")
    programs.fail("squeue")
    for stamp in (at_home / "home").glob("asked-*"):
        stamp.unlink()
    until(lambda: len(events(exp, "query failed")) == 2)
    assert states(exp)["t"] in ("pending", "running")
    programs.mend()
    wait(exp)
    assert [attempt.status.state.value for attempt in exp._written().view().attempts["t"]] == ["failed", "succeeded"]


def test_a_job_that_was_taken_though_sbatch_did_not_say_so_is_found_and_runs_once(at_home, programs, monkeypatch):
    slurm_commands._version.cache_clear()
    assert slurm_commands.known_version() is not None  # asks sbatch once
    asked = len(programs.calls("sbatch"))
    monkeypatch.setattr(slurm_commands, "COMMAND_TIMEOUT_S", 2.0)
    monkeypatch.setattr(driver, "AGAIN_S", 1.0)
    exp = Experiment("late", executor=SlurmExecutor(**SMALL))
    exp.add(sh("echo ran >>ran"), name="t", retries=1)
    programs.late("sbatch")
    assert exp.run().exit_status() == 0
    assert (at_home / "ran").read_text() == "ran\n" and len(programs.calls("sbatch")) == asked + 1
    assert "may have been taken" in events(exp, "submission unclear")[0]["message"]


def test_a_cancel_that_reaches_nobody_is_tried_again_by_the_driver(at_home, programs, monkeypatch):
    monkeypatch.setattr(driver, "AGAIN_S", 0.5)
    exp = Experiment("cancel", executor=SlurmExecutor(**SMALL))
    exp.add(sh("exec sleep 300"), name="t", retries=1)
    programs.fail("scancel", times=1, says="scancel: error: Unable to contact slurm controller (connect failure)")

    def cancel(task, state, detail):
        if state.value == "pending":
            Records(exp.directory).note("cancel", tasks=["t"])  # as another process does

    thread = threading.Thread(target=exp.run, kwargs={"listener": cancel})
    thread.start()
    until(lambda: exp.directory.joinpath("experiment.json").exists())
    wait(exp)
    thread.join()
    assert states(exp) == {"t": "cancelled"} and len(programs.calls("scancel")) == 2
    assert "Unable to contact" in events(exp, "cancel failed")[0]["message"]


def test_five_experiments_with_drivers_and_whoever_looks_share_one_question(at_home, programs):
    experiments = []
    for i in range(5):
        exp = Experiment(f"e{i}", executor=SlurmExecutor(**SMALL))
        exp.add(sh("sleep 5"), name="t", retries=1)
        exp.run(detach=True)
        experiments.append(exp)
    alone = Experiment("alone", executor=SlurmExecutor(**SMALL))
    alone.add(sh("sleep 5"), name="t")
    alone.run(detach=True)
    began = time.time()
    while not all(state.final for exp in [*experiments, alone] for state in exp.status(refresh=True).values()):
        assert time.time() < began + 60
        time.sleep(0.2)
    asked = programs.calls("squeue")
    print([round(t - began, 2) for t in asked])
    assert all(later - earlier > 9.9 for earlier, later in pairwise(asked)), asked
    assert 1 <= len(asked) <= 1 + (time.time() - began) / 9.9
    for exp in experiments:  # each driver has heard of its job's running by it, or has read its exit file
        assert exp.exit_status() == 0
