"""Experiments on a real Slurm: graphs with and without a driver, submissions that are killed, retries."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment.experiment import Experiment
from tests.slurm.experiments import SMALL, sh, states, wait

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("at_home")]
PROJECT = Path(__file__).parents[2]


def test_slurm_alone_finishes_a_graph_and_its_ends_decide_what_follows(at_home):
    exp = Experiment("alone", executor=SlurmExecutor(**SMALL))
    first = exp.add(sh("echo one >>order"), name="first")
    bad = exp.add(sh("exit 3"), name="bad")
    exp.add(sh("echo two >>order"), name="second", dependencies=[first])
    exp.add(sh("true"), name="never", dependencies=[first, bad])
    exp.add(sh("echo cleaned >>order"), name="clean", dependencies=[first, bad], condition="any_failed")
    exp.run(detach=True)
    assert not (exp.directory / "driver.log").exists()
    wait(exp)
    assert states(exp) == {"first": "succeeded", "bad": "failed", "second": "succeeded", "never": "skipped", "clean": "succeeded"}
    lines = (at_home / "order").read_text().split()
    assert lines.index("one") < lines.index("two") and "cleaned" in lines
    assert exp.exit_status() == 1


def test_retries_have_a_driver_and_dependents_wait_for_the_last_attempt(at_home):
    exp = Experiment("driven", executor=SlurmExecutor(**SMALL))
    flaky = exp.add(sh("test -e once || { touch once; exit 1; }"), name="flaky", retries=1, backoff_s=0.1)
    exp.add(sh("echo came"), name="after", dependencies=[flaky])
    assert exp.run().exit_status() == 0
    assert [a.status.state.value for a in exp._written().view().attempts["flaky"]] == ["failed", "succeeded"]


def test_a_cancelled_job_is_told_from_a_failing_program(at_home):
    exp = Experiment("classes", executor=SlurmExecutor(**SMALL))
    exp.add(sh("sleep 300"), name="long", time="1")
    exp.add(sh("exit 9"), name="bad")
    exp.run(detach=True)
    deadline = time.monotonic() + 60
    while states(exp)["bad"] != "failed":
        assert time.monotonic() < deadline
        time.sleep(0.3)
    exp.cancel(["long"])
    wait(exp)
    assert states(exp) == {"long": "cancelled", "bad": "failed"}
