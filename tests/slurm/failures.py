"""The experiments that test_failures.py looks at: submitted together, so that what takes a minute takes it beside all other tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.base import JobHandle
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment.decide import Attempt, TaskState
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.request import Command
from hpcflow.testing.executor_contract import Jobs
from hpcflow.testing.slurm import SlurmCluster

PROJECT = Path(__file__).parents[2]
TAKES_MEMORY = f"exec {sys.executable} -c 'import time; taken = bytearray(400 << 20); time.sleep(60)'"
SECOND_TIME = "[ ! -e $HERE.again ] || exit 0; touch $HERE.again;"
"""A script that begins so succeeds in its second attempt."""

STEPS = """
import os, pathlib, sys, time
from hpcflow import launch
state = pathlib.Path(os.environ["HERE"] + ".state")
step = int(state.read_text()) if state.exists() else 0
print("from step", step, "in attempt", launch.env().attempt, flush=True)
if step:
    sys.exit(0)
while not launch.should_stop():
    step += 1
    time.sleep(0.1)
state.write_text(str(step))
sys.exit(launch.STOP_CODE)
"""


class Cases:
    """Experiments and jobs on the cluster with accounting. Those that may lose their node begin on n2; all others stay on n1."""

    def __init__(self, cluster: SlurmCluster, root: Path) -> None:
        self.cluster = cluster
        self.root = root
        self.experiments: dict[str, Experiment] = {}
        self.forgotten: dict[str, JobHandle] = {}
        self._node_is_back = False

    @contextlib.contextmanager
    def there(self) -> Iterator[None]:
        """This process submits to, and asks, the cluster of these cases."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("SLURM_CONF", "PATH"):
                patch.setenv(name, self.cluster.environment[name])
            patch.setenv("HPCFLOW_LAUNCH_HOME", str(self.root / "home"))
            patch.setenv("HPCFLOW_LAUNCH_POLL_S", "10")
            patch.chdir(self.root)
            yield

    def submit(self) -> None:
        """All of them; returns when the node has been lost."""
        with self.there():
            self._add("limit", "exec sleep 300", time="1")
            self._add("limit with budget", SECOND_TIME + "exec sleep 300", time="1", retries={"timeout": 1})
            self._add("memory", TAKES_MEMORY)
            self._add("memory with budget", SECOND_TIME + TAKES_MEMORY, retries={"out of memory": 1})
            self._add("memory of a rank", TAKES_MEMORY, launcher="srun", retries={"program error": 1})
            self._add("memory in a group", [TAKES_MEMORY, "echo unharmed"], mode="parallel", on_failure="continue", ntasks=2, mem="400M")
            self._add("other budget", "exit 9", retries={"out of memory": 2, "node failure": 2})
            stopping = Script(inline=f"exec {sys.executable} -c '{STEPS}'")
            self._add("stop", stopping, time="1", stop_before_s=50, retries={"stopped to be continued": 1, "timeout": 1})
            self._add("node with budget", SECOND_TIME + "exec sleep 300", nodelist=None, retries={"node failure": 1})
            self._add("node, Slurm's turn", SECOND_TIME + "exec sleep 300", nodelist=None, requeue=True)
            self._submit_forgotten()
            self._lose_node()

    def _add(self, name: str, what: str | Script | list[str], *, retries: dict[str, int] | None = None, **fields: object) -> None:
        mode = {key: fields.pop(key) for key in ("mode", "on_failure") if key in fields}
        executor = SlurmExecutor(
            **{"mem": "100M", "nodelist": "n1", "env": {"HERE": str(self.root / name.replace(" ", "-")), "PYTHONPATH": str(PROJECT)}, **fields}
        )
        task = what if isinstance(what, Script) else [Script(inline=text) for text in what] if isinstance(what, list) else Script(inline=what)
        experiment = Experiment(name, executor=executor)
        experiment.add(task, name="task", retries=retries or 0, backoff_s=0.1, **mode)
        experiment.run(detach=True)
        self.experiments[name] = experiment

    def _submit_forgotten(self) -> None:
        """Jobs that leave no exit file, and of which only accounting knows when they are asked for."""
        jobs = Jobs(SlurmExecutor(mem="50M", nodelist="n1"), self.root / "forgotten")
        self.forgotten["shell killed"] = jobs.shell("shell killed", "kill -KILL $PPID; sleep 60")
        self.forgotten["no file"] = jobs.shell("no file", 'rm -rf "$HPCFLOW_ATTEMPT_DIRECTORY"')
        self.forgotten["cancelled"] = jobs.submit(jobs.request("cancelled", commands=(Command(("sleep", "600")),)))
        subprocess.run(["scancel", "--signal=KILL", "--full", self.forgotten["cancelled"].id], check=True)

    def _lose_node(self) -> None:
        deadline = time.monotonic() + 60
        names = ("node with budget", "node, Slurm's turn")
        while not all((self.root / f"{name.replace(' ', '-')}.again").exists() for name in names):
            assert time.monotonic() < deadline, self._queue()
            time.sleep(0.1)
        self.cluster.lose_node("n2")

    def attempts(self, name: str, limit_s: float = 150.0) -> list[Attempt]:
        """The attempts of a case's task, when it is decided."""
        with self.there():
            if not self._node_is_back and name != "node with budget":
                self.attempts("node with budget")
                self.cluster.bring_back("n2")
                self._node_is_back = True
            experiment = self.experiments[name]
            deadline = time.monotonic() + limit_s
            while not all(state.final for state in experiment.status(refresh=True).values()):
                for stamp in (self.root / "home").glob("asked-*"):
                    stamp.unlink(missing_ok=True)
                self.cluster.hurry()
                assert time.monotonic() < deadline, (experiment.status(), experiment._written().events())
                time.sleep(0.3)
            return list(experiment._written().view().attempts["task"])

    def classes(self, name: str) -> list[str | None]:
        """How each attempt of a case failed; None: it succeeded."""
        return [None if attempt.status.failure is None else attempt.status.failure.value for attempt in self.attempts(name)]

    def state(self, name: str) -> TaskState:
        return self.experiments[name].status()["task"]

    def _queue(self) -> str:
        return subprocess.run(["squeue", "--noheader", "--states=PENDING", "--format=%A"], capture_output=True, text=True, check=True).stdout

    def end(self) -> None:
        """Cancel what a failing test has left, so that no supervisor stays."""
        with self.there():
            for experiment in self.experiments.values():
                if not all(state.final for state in experiment.status().values()):
                    experiment.cancel()
            deadline = time.monotonic() + 30
            while driven := [name for name, experiment in self.experiments.items() if not _given_back(experiment.directory)]:
                assert time.monotonic() < deadline, f"somebody still drives {driven}"
                time.sleep(0.2)


def _given_back(directory: Path) -> bool:
    lease = directory / "lease.json"
    return not lease.exists() or '"released"' in lease.read_text() or not os.path.exists(directory)
