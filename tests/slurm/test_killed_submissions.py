"""Submissions killed with -9 at random moments: whoever resumes loses no task and runs none twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcflow.launch.executors.slurm_commands import queue
from hpcflow.launch.experiment.driver import Driver
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.records import Records
from tests.slurm.killed import TASKS, submit

pytestmark = pytest.mark.slurm
AT_ONCE = 3
"""Submissions under way at the same time."""
RUN, HELD = 5, 95
"""Kills after which the jobs run, and after which their names are counted: a hundred."""


@pytest.fixture
def variables(slurm, tmp_path, monkeypatch):
    """What a submitting process needs, set in this one too. Drivers hear of ends from exit files; they need not ask Slurm."""
    found = {name: slurm.environment[name] for name in ("SLURM_CONF", "PATH")}
    found |= {"HPCFLOW_LAUNCH_HOME": str(tmp_path / "home"), "HPCFLOW_LAUNCH_POLL_S": "30"}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@dataclass(frozen=True)
class Lasted:
    """Of a submission that was not killed: seconds until it was written down, and until its end."""

    written_s: float
    took_s: float


def _kill_in_the_middle(
    title: str, directory: Path, variables: dict[str, str], held: bool, after_s: float | None, from_written: bool = False
) -> tuple[Path, Lasted | None]:
    """Begin a submission and kill it after so long (None: never), counted from its begin or from when it was written down.

    Returns its directory, and how long it took if it was quicker than its kill.
    """
    context = multiprocessing.get_context("forkserver")  # children begin with all imports done: the moments fall into the submission
    here, there = context.Pipe()
    child = context.Process(target=submit, args=(title, str(directory), variables, held, there))
    child.start()
    where = Path(here.recv())
    began = time.monotonic()
    written_s = 0.0
    while (from_written or after_s is None) and not (where / "experiment.json").exists() and child.is_alive():
        time.sleep(0.002)
        written_s = time.monotonic() - began
    quicker = here.poll(after_s) and here.recv() == "submitted"
    took_s = time.monotonic() - began
    assert child.pid is not None
    if not quicker:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    return where, Lasted(written_s, took_s) if quicker else None


def _how_far(directory: Path) -> str:
    """What of a submission is on disk."""
    if not (directory / "experiment.json").exists():
        return "nothing"
    submitted, announced = (len(list(directory.glob(f"tasks/*/attempts/1/{name}.json"))) for name in ("submitted", "intent"))
    return "all" if submitted == len(TASKS) else f"{announced} announced, {submitted} submitted"


def _killed(directory: Path, variables: dict[str, str], kills: int, seed: int, held: bool) -> list[Path]:
    """The experiments of so many submissions, killed at random moments, of which something is on disk."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["jinja2", "tests.slurm.killed", "hpcflow.launch.experiment.driver"])
    _kill_in_the_middle("first", directory, variables, True, None)  # the server of the children is up, and everything has been read once
    lasted: deque[Lasted] = deque(maxlen=AT_ONCE)
    """Of the last submissions that were not killed: the machine is now slower, now quicker."""
    chance = random.Random(seed)

    def one(number: int) -> Path:
        after_s, from_written = None, False
        if number >= AT_ONCE:  # half of them while jobs are being submitted
            from_written = chance.random() < 0.5
            typical = sorted(lasted, key=lambda each: each.took_s)[len(lasted) // 2]
            after_s = chance.random() * (typical.took_s - typical.written_s if from_written else typical.took_s)
        where, quicker = _kill_in_the_middle(f"run{number}", directory, variables, held, after_s, from_written)
        if quicker is not None and (from_written or after_s is None):
            lasted.append(quicker)
        return where

    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = list(pool.map(one, range(AT_ONCE))) and list(pool.map(one, range(AT_ONCE, AT_ONCE + kills)))
    stages = Counter(map(_how_far, killed))
    print(f"submissions take {[round(each.took_s, 2) for each in lasted]} s; killed at {dict(stages)}")
    assert kills - stages["nothing"] - stages["all"] >= kills // 5 - 1, stages
    return [path for path in killed if (path / "experiment.json").exists()]


def test_submissions_killed_at_random_moments_run_each_task_once(variables, tmp_path):
    begun = _killed(tmp_path, variables, RUN, 7, held=False)
    with ThreadPoolExecutor(len(begun)) as pool:
        assert set(pool.map(lambda directory: Experiment.open(directory).resume(), begun)) == {0}
    for directory in begun:
        title = directory.name.rpartition("-")[0]
        lines = (tmp_path / title).read_text().split()
        assert sorted(lines) == sorted(TASKS), (title, lines, _how_far(directory))
        assert lines.index("first") < lines.index("after")


def _submit_the_rest(directory: Path) -> None:
    """What a driver that takes over does first: look for what was announced, and submit what is not there."""
    lease = Lease.take(directory)
    try:
        assert Driver(Records(directory), lease)._act() or _how_far(directory) == "all"
    finally:
        lease.give_back()


def test_submissions_killed_at_random_moments_lose_and_double_no_job(variables, tmp_path):
    """The same for many, by the names of their jobs, which stay in the queue: one question for all."""
    begun = _killed(tmp_path, variables, HELD, 8, held=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(_submit_the_rest, begun))
    queued = Counter(line.key for line in queue() if line.state == "PENDING")
    subprocess.run(["scancel", "--me"], check=True)
    for directory in begun:
        keys = [json.loads(path.read_text())["key"] for path in directory.glob("tasks/*/attempts/*/submitted.json")]
        assert len(keys) == len(TASKS), (directory, keys)
        id = directory.name.rpartition("-")[2]
        assert {key: count for key, count in queued.items() if key.startswith(id)} == dict.fromkeys(keys, 1), directory
