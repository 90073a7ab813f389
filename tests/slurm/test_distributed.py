"""Programs under a real Slurm: places on two nodes, an allocation's tasks, and ends that do not need srun's help. With the MPI of this Python."""

from __future__ import annotations

import sys
import time

import pytest

from tests.slurm.conftest import MPICH

pytestmark = pytest.mark.slurm

PLACES = """
import os
import hpcflow as hf

@hf.program
def places(ctx):
    (ctx.scratch / "mine").write_text("x")
    return ctx.rank, ctx.size, ctx.node, ctx.nodes, ctx.local_rank, ctx.local_size, os.environ.get("SLURMD_NODENAME"), ctx.comm.allreduce(1)

found = places.run_all()
if found is not None:
    print(found, flush=True)
"""

ENDS = """
import os, sys, time
import hpcflow as hf

@hf.program
def ends(ctx):
    ctx.comm.barrier()
    if ctx.rank == 1:
        time.sleep(0.5)
        WAY
    ctx.comm.recv(source=1)

ends.run()
"""


@pytest.mark.skipif(not MPICH, reason="the Open MPI wheel speaks no pmi2, and pmix hangs over virtual nodes of one host")
def test_srun_over_two_nodes_gives_places_on_both(run_in_slurm):
    ended = run_in_slurm("srun", "-N2", "-n3", "--overcommit", "--mpi=pmi2", sys.executable, "PROGRAM", program=PLACES)
    assert ended.returncode == 0 and ended.stderr == "", ended
    found = sorted(eval(ended.stdout))
    assert (
        [place[:2] for place in found] == [(rank, 3) for rank in range(3)]
        and {place[3] for place in found} == {2}
        and {place[7] for place in found} == {3}
    )
    names = {place[2]: place[6] for place in found}
    assert len(set(names.values())) == 2 and all(names[place[2]] == place[6] for place in found)
    assert sorted(place[4:6] for place in found) == [(0, 1), (0, 2), (1, 2)]


def test_hpcflow_run_gives_every_task_of_the_allocation_a_worker(run_in_slurm):
    nodes = "-N2" if MPICH else "-N1"
    words = [sys.executable, "-m", "hpcflow", "run", "--mode", "distributed", "PROGRAM:places"]
    ended = run_in_slurm(
        "salloc", nodes, "-n3", "--overcommit", *words, program=PLACES.replace("return", "print(ctx.rank, 'of', ctx.size, flush=True)\n    return")
    )
    assert ended.returncode == 0 and "hpcflow: 3 workers" in ended.stderr, ended
    assert all(f"{rank} of 3" in ended.stdout for rank in range(3)), ended


@pytest.mark.skipif(not MPICH, reason="srun starts no Open MPI world here")
@pytest.mark.parametrize(
    ("way", "words"),
    [
        pytest.param("raise ValueError('mine')", "ValueError: mine", marks=pytest.mark.thorough),
        pytest.param("sys.exit(3)", "", marks=pytest.mark.thorough),
        ("os.kill(os.getpid(), 9)", ""),
        pytest.param("os.kill(os.getpid(), 15)", "was told to end (SIGTERM)", marks=pytest.mark.thorough),
    ],
)
def test_a_rank_that_ends_badly_ends_the_step_soon_without_kill_on_bad_exit(run_in_slurm, way, words):
    started = time.monotonic()
    ended = run_in_slurm(
        "srun", "-N2", "-n3", "--overcommit", "--mpi=pmi2", "--kill-on-bad-exit=0", sys.executable, "PROGRAM", program=ENDS.replace("WAY", way)
    )
    assert ended.returncode != 0 and words in ended.stderr and ended.stderr.count("Traceback") == ("raise" in way), ended
    assert time.monotonic() - started < 20
