"""What becomes of a graph when Slurm refuses one of its tasks, or takes no more for now."""

from __future__ import annotations

import pytest

from hpcflow.errors import LaunchError
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment import driver, starting
from hpcflow.launch.experiment.experiment import Experiment
from tests.launch.slurm_programs import SlurmPrograms
from tests.slurm.experiments import SMALL, sh, states, wait

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("at_home")]


def test_a_refused_task_has_failed_what_depends_on_it_is_decided_and_the_rest_goes_on(at_home):
    exp = Experiment("refused", executor=SlurmExecutor(**SMALL))
    first = exp.add(sh("echo first >>ran"), name="first")
    bad = exp.add(sh("echo bad >>ran"), name="bad", dependencies=[first], partition="nowhere")
    skipped = exp.add(sh("echo skipped >>ran"), name="skipped", dependencies=[bad])
    exp.add(sh("echo never >>ran"), name="never", dependencies=[skipped])
    exp.add(sh("echo handler >>ran"), name="handler", dependencies=[bad], condition="any_failed")
    exp.add(sh("echo last >>ran"), name="last", dependencies=[first, bad, skipped], condition="all_finished")
    exp.add(sh("echo either >>ran"), name="either", dependencies=[first, bad], condition="any_succeeded")
    with pytest.raises(LaunchError, match=r"1 of 7 tasks failed; 4 others were submitted and go on, 2 are skipped .*nowhere"):
        exp.run(detach=True)
    assert not (exp.directory / "driver.log").exists()
    assert states(exp)["bad"] == "failed"
    wait(exp)
    others = dict.fromkeys(("first", "handler", "last", "either"), "succeeded")
    assert states(exp) == {**others, "bad": "failed", "skipped": "skipped", "never": "skipped"}
    assert exp.exit_status() == 1
    lines = (at_home / "ran").read_text().split()
    assert sorted(lines) == ["either", "first", "handler", "last"] and lines.index("last") > lines.index("first")
    assert "nowhere" in exp._written().view().attempts["bad"][0].status.reason


def test_a_submit_limit_is_waited_for_and_fails_nothing(slurm, at_home, monkeypatch):
    programs = SlurmPrograms(at_home / "bin", real=slurm.environment["PATH"])
    monkeypatch.setenv("PATH", programs.path)
    monkeypatch.setattr(driver, "AGAIN_S", 0.5)
    monkeypatch.setattr(starting, "start_supervisor", lambda directory: None)  # `resume` below does in this process what it would do in its own
    exp = Experiment("limit", executor=SlurmExecutor(**SMALL))
    first = exp.add(sh("echo first >>ran"), name="first")
    exp.add(sh("echo after >>ran"), name="after", dependencies=[first])
    exp.dryrun()
    programs.fail("sbatch", times=3, says="sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Job violates accounting/QOS policy")
    exp.run(detach=True)
    assert set(states(exp).values()) == {"pending", "waiting"}
    assert exp.resume() == 0
    assert (at_home / "ran").read_text().split() == ["first", "after"]
    told = [record["event"] for record in exp._written().events()]
    assert told.count("submission waits") == 1 and told.count("submit limit") == 2
