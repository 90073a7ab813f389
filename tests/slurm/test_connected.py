"""Connected programs under a real Slurm: srun's world, an allocation, the wrong launches, lost ranks. With the MPI of this Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.slurm.conftest import MPICH, PROJECT

pytestmark = pytest.mark.slurm

JOB = """
import hpcflow as hf, polars as pl
with hf.Session(progress="off") as s:
    lengths = s.range(100_000).group_by(pl.col("value") % 7).agg(pl.len()).sort("value").collect()["len"].to_list()
    print(s.workers, "workers", lengths, flush=True)
"""
ANSWER = "workers [14286, 14286, 14286, 14286, 14286, 14285, 14285]"

KILLED = """
import hpcflow as hf, polars as pl, os, time
def die(df):
    if df["value"][0] == 0:
        os.kill(os.getpid(), 9)
    time.sleep(30)
    return df
with hf.Session(progress="off") as s:
    s.range(100).repartition(4).map_batches(die, schema={"value": pl.Int64}).count()
"""


@pytest.fixture
def run(run_in_slurm):
    """`run_in_slurm` of JOB, unless the test has a program of its own."""
    return lambda *command, program=JOB: run_in_slurm(*command, program=program)


@pytest.mark.skipif(not MPICH, reason="the Open MPI wheel speaks no pmi2, and pmix hangs over virtual nodes of one host")
def test_srun_over_two_nodes_gives_one_world(run):
    ended = run("srun", "-N2", "-n3", "--overcommit", "--mpi=pmi2", sys.executable, "PROGRAM")
    assert (ended.returncode, f"2 {ANSWER}" in ended.stdout) == (0, True), ended


@pytest.mark.parametrize("words", [[], pytest.param(["-n", "3"], marks=pytest.mark.thorough)])
def test_hpcflow_run_takes_the_tasks_of_the_allocation(run, words):
    nodes = "-N2" if MPICH else "-N1"  # Open MPI's mpirun starts its daemons by srun, and two nodes of one host confuse them
    ended = run("salloc", nodes, "-n3", "--overcommit", sys.executable, "-m", "hpcflow", "run", "PROGRAM", *words)
    assert (ended.returncode, f"2 {ANSWER}" in ended.stdout) == (0, True), ended
    assert "hpcflow: 3 ranks: 1 master + 2 workers" in ended.stderr


def test_a_step_whose_tasks_do_not_see_each_other_is_refused(run):
    ended = run("srun", "-N1", "-n2", "--overcommit", f"--mpi={'none' if MPICH else 'pmi2'}", sys.executable, "PROGRAM")
    assert ended.returncode != 0
    assert "this Slurm step has 2 tasks, but MPI" in ended.stderr
    assert f"srun --mpi={'pmi2' if MPICH else 'pmix'} python job.py" in ended.stderr
    assert ANSWER not in ended.stdout


def test_doctor_says_so_too(run):
    ended = run("srun", "-N1", "-n2", "--overcommit", f"--mpi={'none' if MPICH else 'pmi2'}", sys.executable, "-m", "hpcflow", "doctor")
    assert ended.returncode != 0, ended
    assert "fail  world" in ended.stdout, ended


@pytest.mark.skipif(not MPICH, reason="srun starts no Open MPI world here")
def test_a_killed_worker_ends_the_step_soon(run):
    started = time.monotonic()
    ended = run("srun", "-N2", "-n3", "--overcommit", "--mpi=pmi2", sys.executable, "PROGRAM", program=KILLED)
    assert ended.returncode != 0
    assert "has ended in the middle of the job" in ended.stderr, ended
    assert time.monotonic() - started < 20


@pytest.mark.skipif(not MPICH, reason="srun starts no Open MPI world here")
def test_scancel_ends_all_ranks(slurm, tmp_path):
    file = tmp_path / "job.py"
    file.write_text(KILLED.replace("os.kill(os.getpid(), 9)", "print('WORKER', os.getpid(), flush=True)"))
    environment = slurm.environment | {"PYTHONPATH": str(PROJECT)}
    words = ["srun", "-N2", "-n3", "--overcommit", "--mpi=pmi2", "--job-name=long", sys.executable, str(file)]
    step = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert step.stdout is not None
        worker = int(step.stdout.readline().split()[1])
        subprocess.run(["scancel", "--name=long"], env=environment, check=True)
        assert step.wait(20) != 0
        deadline = time.monotonic() + 10
        while _alive(worker) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not _alive(worker)
    finally:
        step.kill()
        step.wait()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("launch", ["mpi", "mpirun"], ids=["what fits", "by mpirun"])  # "mpi" alone would be a mark of pytest-mpi
def test_a_session_in_an_allocation_starts_its_own_ranks(run, launch):
    nodes = "-N2" if MPICH else "-N1"
    program = JOB.replace("hf.Session(", f"hf.Session(launch={launch!r}, workers=2, ")
    ended = run("salloc", nodes, "-n3", "--overcommit", sys.executable, "PROGRAM", program=program)
    assert (ended.returncode, f"2 {ANSWER}" in ended.stdout) == (0, True), ended
