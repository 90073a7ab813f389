"""Submissions killed with -9 at random moments: whoever resumes loses no task and runs none twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcflow.launch.experiment.experiment import Experiment
from tests.slurm.killed import TASKS, submit

pytestmark = pytest.mark.slurm
AT_ONCE = 3
"""Submissions under way at the same time."""


@pytest.fixture
def variables(slurm, tmp_path, monkeypatch):
    """What a submitting process needs, set in this one too. Drivers hear of ends from exit files; they need not ask Slurm."""
    found = {name: slurm.environment[name] for name in ("SLURM_CONF", "PATH")}
    found |= {"HPCFLOW_LAUNCH_HOME": str(tmp_path / "home"), "HPCFLOW_LAUNCH_POLL_S": "30"}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def _kill_in_the_middle(title: str, directory: Path, variables: dict[str, str], after_s: float | None) -> tuple[Path, float]:
    """Begin a submission and kill it after so long (None: never); its directory, and how long it took or was let."""
    context = multiprocessing.get_context("forkserver")  # children begin with all imports done: the moments fall into the submission
    here, there = context.Pipe()
    child = context.Process(target=submit, args=(title, str(directory), variables, there))
    child.start()
    written = Path(here.recv())
    began = time.monotonic()
    if after_s is None:
        assert here.recv() == "submitted"
    else:
        time.sleep(after_s)
        assert child.pid is not None
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.kill(child.pid, signal.SIGKILL)
    took = time.monotonic() - began
    child.join()
    return written, took


def _how_far(directory: Path) -> str:
    """What of a submission is on disk."""
    if not (directory / "experiment.json").exists():
        return "nothing"
    submitted, announced = (len(list(directory.glob(f"tasks/*/attempts/1/{name}.json"))) for name in ("submitted", "intent"))
    return "all" if submitted == len(TASKS) else f"{announced} announced, {submitted} submitted"


@pytest.mark.parametrize(("kills", "seed"), [(12, 7), pytest.param(88, 8, marks=pytest.mark.thorough)])
def test_no_task_is_lost_or_doubled(variables, tmp_path, kills, seed):
    multiprocessing.get_context("forkserver").set_forkserver_preload(["jinja2", "tests.slurm.killed", "hpcflow.launch.experiment.driver"])
    _kill_in_the_middle("first", tmp_path, variables, None)  # the server of the children is up, and everything has been read once
    with ThreadPoolExecutor(AT_ONCE) as pool:
        takes_s = max(took for _, took in pool.map(lambda i: _kill_in_the_middle(f"whole{i}", tmp_path, variables, None), range(AT_ONCE)))
        chance = random.Random(seed)
        # half of them in the second half, when jobs are being submitted
        moments = [chance.uniform(chance.choice((0.0, 0.5)), 1.0) * takes_s for _ in range(kills)]
        killed = list(pool.map(lambda i: _kill_in_the_middle(f"run{i}", tmp_path, variables, moments[i])[0], range(kills)))
    stages = Counter(map(_how_far, killed))
    print(f"a submission takes {takes_s:.3f} s; killed at {dict(stages)}")
    in_the_middle = kills - stages["nothing"] - stages["all"]
    assert in_the_middle >= kills // 5, stages

    begun = [directory for directory in killed if (directory / "experiment.json").exists()]
    with ThreadPoolExecutor(len(begun)) as pool:
        assert set(pool.map(lambda directory: Experiment.open(directory).resume(), begun)) == {0}
    for directory in begun:
        title = directory.name.rpartition("-")[0]
        lines = (tmp_path / title).read_text().split()
        assert sorted(lines) == sorted(TASKS), (title, lines, _how_far(directory))
        assert lines.index("first") < lines.index("after")
