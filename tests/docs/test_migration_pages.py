"""The jobs on the pages for people who come from somewhere else run as they are shown, in a folder with nothing else in it."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(?:python|sh)\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def write(page: str, folder: Path) -> dict[str, str]:
    """Every block that begins with its file's name, written there."""
    found = dict(_BLOCK.findall((ROOT / "docs" / page).read_text()))
    for name, text in found.items():
        (folder / name).write_text(text)
    return found


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HPCFLOW_LAUNCH_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.thorough
def test_the_experiment_for_those_who_know_nemo_run_runs(tmp_path: Path) -> None:
    assert set(write("from_nemo_run.md", tmp_path)) == {"mylib.py", "nemo_job.py", "job.py"}
    done = run(tmp_path, "job.py")
    assert done.stdout == "{'train-0.001': 0.1, 'train-0.0001': 0.01}\n", done
    assert len((tmp_path / "data.txt").read_text().splitlines()) == 100


@pytest.mark.thorough
def test_the_calls_for_those_who_know_submitit_run(tmp_path: Path) -> None:
    assert set(write("from_submitit.md", tmp_path)) == {"mylib.py", "submitit_job.py", "job.py"}
    done = run(tmp_path, "job.py")
    wanted = []
    for seed in range(8):
        generator = random.Random(seed)
        wanted.append(sum(generator.random() for _ in range(1000)))
    assert done.stdout == f"{wanted}\n", done


def test_the_job_for_those_who_know_sbatch_asks_for_what_their_script_asks(tmp_path: Path) -> None:
    files = write("from_sbatch.md", tmp_path)
    programs = tmp_path / "bin"  # what a submit host has, as far as a dry run asks it
    programs.mkdir()
    for name, text in (("sbatch", "echo slurm 23.11.4"), ("srun", "echo none; echo pmi2; echo pmix"), ("scontrol", "echo MaxArraySize = 1001")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    job = files["job.py"].replace("        exp.run(detach=True)\n", "")
    assert job != files["job.py"]
    (tmp_path / "dry.py").write_text(job)
    done = run(tmp_path, "dry.py", PATH=f"{programs}:{os.environ['PATH']}")
    assert done.returncode == 0, done
    first, second = done.stdout.split("# one array of these 4; the script of the first element:")
    said = {line for line in second.splitlines() if line.startswith("#SBATCH")}
    wanted = {line for line in files["submit.sh"].splitlines() if line.startswith("#SBATCH") and "--array" not in line}
    assert wanted <= said
    assert {"#SBATCH --ntasks=1", "#SBATCH --cpus-per-task=1", "#SBATCH --mem=100M", "#SBATCH --time=00:10:00"} <= set(first.splitlines())
    assert "export OMP_NUM_THREADS=1\n" in second and "--seed 0" in second and not (tmp_path / "home").exists()


def test_the_shell_scripts_are_shell(tmp_path: Path) -> None:
    write("from_sbatch.md", tmp_path)
    shell = shutil.which("sh")
    assert shell is not None
    for name in ("submit.sh", "prepare.sh"):
        assert subprocess.run([shell, "-n", name], cwd=tmp_path, check=False).returncode == 0
