"""The two jobs of docs/from_sbatch.md, by sbatch and by hpcflow, do the same on a real Slurm."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcflow.testing.slurm import SlurmCluster
from tests.docs.test_migration_pages import write
from tests.slurm.conftest import PROJECT

pytestmark = [pytest.mark.slurm, pytest.mark.thorough]


def test_the_script_and_the_program_have_the_same_results(slurm: SlurmCluster, tmp_path: Path) -> None:
    environment = slurm.environment | {"PYTHONPATH": str(PROJECT), "HPCFLOW_LAUNCH_HOME": str(tmp_path / "home")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    folders = {way: tmp_path / way for way in ("by_sbatch", "by_hpcflow")}
    for folder, words in zip(folders.values(), (["sh", "submit.sh"], [sys.executable, "job.py"]), strict=True):
        folder.mkdir()
        write("from_sbatch.md", folder)
        subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, timeout=60)
    wanted = {f"result-{seed}.txt": f"{seed * 100}\n" for seed in range(4)}
    deadline = time.monotonic() + 90
    while any(not (folder / name).exists() for folder in folders.values() for name in wanted):
        assert time.monotonic() < deadline, [sorted(path.name for path in folder.iterdir()) for folder in folders.values()]
        slurm.hurry()
        time.sleep(0.5)
    time.sleep(0.5)
    for folder in folders.values():
        assert {name: (folder / name).read_text() for name in wanted} == wanted
