"""The scripts of `slurm/`: submitted as they are, and held to what SlurmExecutor renders."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import SlurmFields
from hpcflow.launch.request import Command, JobRequest

pytestmark = pytest.mark.slurm
PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "slurm"

SAME = {
    "single_node": SlurmExecutor(nodes=1, ntasks=2, cpus_per_task=1, mem="800M", time="00:30:00"),
    "mpi": SlurmExecutor(nodes=2, ntasks_per_node=2, cpus_per_task=1, mem="800M", time="01:00:00"),
    "array": SlurmExecutor(ntasks=1, cpus_per_task=1, mem="200M", time="00:10:00"),
    "checkpoint": SlurmExecutor(ntasks=1, cpus_per_task=1, mem="200M", time="01:00:00", stop_before_s=120, requeue=True),
    "heterogeneous": SlurmExecutor(
        ntasks=1, cpus_per_task=1, mem="600M", time="00:30:00",
        components=(SlurmFields(nodes=1, ntasks=2, cpus_per_task=1, mem="600M", time="00:30:00"),),
    ),
}  # fmt: skip
OWN = ("--job-name", "--output", "--open-mode", "--export", "--array")


def options(lines):
    return sorted(
        line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ") and not line.startswith(tuple(f"#SBATCH {o}" for o in OWN))
    )


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.sh")))
def test_a_script_has_the_options_that_the_executor_renders(file):
    name = file.removesuffix(".sh")
    request = JobRequest("hf-1", "t", 1, "/a/tasks/t/attempts/1", (Command(("true",)),))
    rendered = SAME[name].directives(request)
    assert options((FOLDER / f"{name}.sh").read_text().splitlines()) == options(rendered)


JOB = """
import hpcflow as hf, polars as pl
with hf.Session(progress="off") as s:
    print(s.workers, "workers", s.range(1000).select(pl.col("value").sum()).collect().item(), flush=True)
"""
SAVES = """
import pathlib, sys, time
from hpcflow import launch
if pathlib.Path("state").exists():
    print("resumed"); sys.exit(0)
pathlib.Path("ready").touch()
while not launch.should_stop():
    time.sleep(0.1)
pathlib.Path("state").touch(); sys.exit(launch.STOP_CODE)
"""


@pytest.fixture
def submit(slurm, tmp_path):
    """`submit(script, program)` -> (job id, function that waits for its end and gives the output)."""
    bin_ = Path(sys.executable).parent
    environment = slurm.environment | {"PYTHONPATH": str(PROJECT), "PATH": f"{bin_}:{slurm.environment['PATH']}"}
    environment["MPIR_CVAR_NOLOCAL"] = "1"  # virtual nodes of one host share /dev/shm, and MPICH takes them for two
    (tmp_path / "bin").mkdir()
    hpcflow = tmp_path / "bin" / "hpcflow"
    hpcflow.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpcflow "$@"\n')
    hpcflow.chmod(0o755)
    environment["PATH"] = f"{tmp_path / 'bin'}:{environment['PATH']}"

    def _submit(script, program, *words):
        (tmp_path / "job.py").write_text(program)
        argv = ["sbatch", "--parsable", "--overcommit", "--output=out-%a.txt", *words, str(FOLDER / script)]
        id = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip().partition(";")[0]

        def finish(limit_s=60.0):
            deadline = time.monotonic() + limit_s
            while True:
                squeue = ["squeue", "--noheader", "--states=all", f"--jobs={id}", "--format=%T"]
                states = set(subprocess.run(squeue, env=environment, capture_output=True, text=True, check=False).stdout.split())
                texts = "".join(path.read_text() for path in sorted(tmp_path.glob("out-*.txt")))
                if states and states <= {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}:
                    assert states == {"COMPLETED"}, (states, texts)
                    return texts
                assert time.monotonic() < deadline, (states, texts)
                slurm.hurry(id)
                time.sleep(0.3)

        return id, finish

    return _submit


@pytest.mark.parametrize(("script", "workers"), [("single_node.sh", 1), ("mpi.sh", 3), ("heterogeneous.sh", 2)])
def test_a_connected_program_runs(submit, script, workers):
    words = () if script != "heterogeneous.sh" else ("--overcommit",)
    _, finish = submit(script, JOB, *words)
    assert f"{workers} workers 499500" in finish()


def test_each_line_of_a_sweep_is_an_element(submit, tmp_path):
    (tmp_path / "parameters.txt").write_text("--lr 0.1\n--lr 0.2\n--lr 0.3\n")
    _, finish = submit("array.sh", "import sys; print(sys.argv[1:])")
    assert finish().splitlines() == ["['--lr', '0.1']", "['--lr', '0.2']", "['--lr', '0.3']"]


def test_a_job_that_is_told_saves_its_state_and_goes_on(slurm, submit, tmp_path):
    id, finish = submit("checkpoint.sh", SAVES)
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    subprocess.run(["scancel", "--batch", "--signal=USR1", id], env=slurm.environment, check=True)
    while not (tmp_path / "state").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "resumed" in finish()
