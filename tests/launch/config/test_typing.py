"""What type checkers accept and refuse: the call of a Config is the call of its target."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

SNIPPET = """
from __future__ import annotations
import functools
from collections.abc import Callable
from dataclasses import dataclass
from hpcflow import launch

@dataclass
class Model:
    hidden: int = 3

def train(model: Model, lr: float, make: Callable[..., Model] | None = None) -> float:
    return lr

class Small(launch.Config[Model]):
    hidden: int = 4

config: Model = launch.Config(Model, hidden=512)
task = launch.Partial(train, model=launch.Config(Model, hidden=512), lr=3e-4)
task.model.hidden = 7
with_partial = launch.Partial(train, Model(), 1.0, make=launch.Partial(Model, hidden=3))
open_ones = launch.Partial.of(functools.partial(train, lr=1.0))
copy: Model = launch.clone(config, hidden=3)
built: Model = launch.build(config)
called: float = task()
ready: functools.partial[float] = launch.build(task)
small = Small(hidden=8)
launch.Script("a.sh", args=["x"])

def main() -> None:
    cfg = launch.Partial(train, model=launch.Config(Model, hidden=512), lr=3e-4)
    with launch.Experiment("sweep", executor=launch.SlurmExecutor(nodes=4, ntasks_per_node=8, launcher="srun")) as exp:
        prep = exp.add(launch.Script("prepare.sh"), name="prep", nodes=1, ntasks_per_node=1, launcher="none")
        exp.add(cfg, name="train", dependencies=[prep])
        exp.run(detach=True)

launch.SlurmExecutor(setup=["module load gcc"], exports=("A",), dependency={"afterok": ["12"]}, components=[launch.SlurmFields(nodes=2)])
launch.PatternPackager(include=["*.py"], limit_mb=3)
launch.Step(launch.Script("a.sh"), cpus_per_task=2, launcher="mpi")
launch.SlurmExecutor(node=4)  # wrong
launch.SlurmExecutor(nodes=[4])  # wrong
launch.LocalExecutor(launcher="sran")  # wrong
launch.Step("a.sh")  # wrong
launch.Experiment("sweep", exekutor=launch.LocalExecutor())  # wrong
launch.Config(Model, hiden=512)  # wrong
launch.Config(Model, hidden="x")  # wrong
launch.Partial(train, model=launch.Config(Model), lrr=3e-4)  # wrong
launch.Partial(train, model=launch.Config(Model), lr="fast")  # wrong
launch.Partial(train, model=launch.Config(dict), lr=1.0)  # wrong
launch.Partial(train, Model(), 1.0, make=launch.Partial(train, Model(), 1.0))  # wrong
launch.Partial.of(functools.partial(train, lrr=1.0))  # wrong
Small(hiden=8)  # wrong
Small(hidden="x")  # wrong
launch.Script("a.sh", arg=["x"])  # wrong
launch.Confg(Model)  # wrong
"""
WRONG = {number for number, line in enumerate(SNIPPET.splitlines(), 1) if line.endswith("# wrong")}


def test_mypy_accepts_right_calls_and_refuses_wrong_ones(tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", "--follow-imports=silent", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert {int(line) for line in re.findall(r"snippet\.py:(\d+): error", done.stdout)} == WRONG, done.stdout


@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright_accepts_right_calls_and_refuses_wrong_ones(tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET)
    root = str(Path(__file__).parents[3])
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [root], "include": ["snippet.py"]}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {item["range"]["start"]["line"] + 1 for item in json.loads(done.stdout)["generalDiagnostics"] if item["severity"] == "error"}
    assert found == WRONG, done.stdout
