"""A further executor is one file and an entry point; a broken one is told of by whoever asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.thorough import thorough

PROJECT = Path(__file__).parents[2]
SHELF = """
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from hpcflow.launch.checked import checked
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.executors.local import LocalExecutor

LOCAL = LocalExecutor()
NOTHING = 3

@checked
@dataclass(frozen=True)
class ShelfExecutor(Executor):
    name: ClassVar[str] = "shelf"
    board: str = "top"
    env: Mapping[str, str] = field(default_factory=dict)
    setup: Sequence[str] = ()

    def render(self, request):
        return LOCAL.render(request)

    def submit(self, rendered):
        return LOCAL.submit(rendered)

    def find(self, wanted):
        return LOCAL.find(wanted)

    def states(self, handles):
        return LOCAL.states(handles)

    def cancel(self, handles, force=False):
        LOCAL.cancel(handles, force)
"""
POINTS = "[hpcflow.executors]\nshelf = shelf_executor:ShelfExecutor\nbroken = no_such_module:X\nnothing = shelf_executor:NOTHING\n"


@pytest.fixture
def submit(tmp_path):
    """Runs `hpcflow launch submit job.sh ...` where the package `shelf` is installed."""
    about = tmp_path / "site" / "shelf-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    (tmp_path / "site" / "shelf_executor.py").write_text(SHELF)
    (tmp_path / "job.sh").write_text("echo on $BOARD\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{PROJECT}", "HPCFLOW_LAUNCH_HOME": str(tmp_path / "home")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        program = "import sys; from hpcflow.cli.app import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", program, "launch", "submit", "job.sh", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.mark.thorough
def test_an_installed_executor_is_named_like_ours_and_its_fields_are_checked(submit, tmp_path):
    done = submit("--executor", "shelf(board=low)", "--set", "env={BOARD: low}", "--set", "setup=true")
    assert done.returncode == 0, done
    (log,) = (tmp_path / "home").rglob("log.txt")
    assert log.read_text() == "on low\n"
    assert "ShelfExecutor has no parameter 'bord'; did you mean 'board'" in submit("--executor", "shelf(bord=low)").stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        thorough("broken", "the installed executor 'broken' cannot be used: no_such_module:X: ModuleNotFoundError: No module named 'no_such_module'"),
        ("nothing", "the installed executor 'nothing' cannot be used: shelf_executor:NOTHING is no dataclass that subclasses Executor"),
        thorough("shlef", "there is no executor 'shlef'; did you mean 'shelf'?; there are local, shelf, slurm"),
    ],
)
def test_a_broken_one_is_told_of_when_it_is_asked_for(submit, name, says):
    done = submit("--executor", name)
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.thorough
def test_a_broken_one_stands_in_nobody_s_way(submit):
    assert submit("--executor", "local").returncode == 0
