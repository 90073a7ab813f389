"""MPI worlds, groups and whole programs as tracked tasks: srun over both nodes, a heterogeneous job, hpcflow's own programs in both job modes."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import SlurmFields
from hpcflow.launch.experiment.experiment import Experiment
from tests.slurm.conftest import MPICH, PROJECT

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(not MPICH, reason="srun starts no Open MPI world here")]
# Virtual nodes of one host share /dev/shm, and MPICH takes them for two.
SEPARATE = {"MPIR_CVAR_NOLOCAL": "1", "PYTHONPATH": str(PROJECT)}

WORLD = """
import json, os
from mpi4py import MPI
world = MPI.COMM_WORLD
places = world.gather((world.rank, os.environ["SLURMD_NODENAME"]))
total = world.allreduce(world.rank)
if world.rank == 0:
    print(json.dumps({"size": world.size, "total": total, "nodes": sorted({p[1] for p in places})}))
"""
CONNECTED = """
import hpcflow as hf, polars as pl
with hf.Session(progress="off") as s:
    print(s.workers, "workers", s.range(1000).group_by(pl.col("value") % 7).agg(pl.len()).sort("value").collect()["len"].to_list(), flush=True)
"""
DISTRIBUTED = """
import hpcflow as hf

@hf.program
def ring(ctx):
    before, after = (ctx.rank - 1) % ctx.size, (ctx.rank + 1) % ctx.size
    return ctx.size, ctx.comm.allreduce(ctx.comm.sendrecv(ctx.rank, dest=after, source=before)), ctx.nodes

found = ring.run_all()
if found is not None:
    print(found[0], flush=True)
"""


def _until_over(experiment: Experiment, limit_s: float = 120.0) -> dict[str, str]:
    deadline = time.monotonic() + limit_s
    while not all(state.final for state in experiment.status(refresh=True).values()):
        for stamp in experiment.directory.parents[1].glob("asked-*"):
            stamp.unlink(missing_ok=True)
        assert time.monotonic() < deadline, experiment.status()
        time.sleep(0.3)
    return {name: state.value for name, state in experiment.status().items()}


@pytest.fixture(scope="module")
def experiment(slurm, tmp_path_factory):
    """All tasks, submitted together and over."""
    root = tmp_path_factory.mktemp("worlds")
    for name, text in (("world.py", WORLD), ("connected.py", CONNECTED), ("distributed.py", DISTRIBUTED)):
        (root / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, slurm.environment[name])
        patch.setenv("HPCFLOW_LAUNCH_HOME", str(root / "home"))
        patch.chdir(root)
        both = SlurmExecutor(nodes=2, ntasks_per_node=2, mem="800M", launcher="srun", env=SEPARATE)
        one = SlurmExecutor(nodes=1, ntasks=1, mem="600M", overcommit=True, launcher="srun", env=SEPARATE)
        exp = Experiment("worlds", executor=both)
        exp.add(Script("world.py"), name="both nodes")
        components = (SlurmFields(nodes=1, ntasks=2, mem="600M", overcommit=True),)
        exp.add(Script("world.py"), name="heterogeneous", executor=SlurmExecutor(**{**vars(one), "components": components}))
        exp.add(Script("connected.py"), name="connected", ntasks_per_node=None, ntasks=3)
        exp.add(Script("distributed.py"), name="distributed", ntasks_per_node=None, ntasks=3)
        small = SlurmExecutor(nodes=1, ntasks=2, mem="400M")
        ok, bad, last = Script(inline="echo ok"), Script(inline="echo bad; exit 4"), Script(inline="echo last")
        exp.add([ok, bad, last], name="one by one", executor=small)
        exp.add([ok, bad, last], name="one by one, all", executor=small, on_failure="continue")
        meeting = [Script(inline=f"touch {a}; while [ ! -e {b} ]; do sleep 0.05; done") for a, b in (("left", "right"), ("right", "left"))]
        exp.add(meeting, name="side by side", executor=small, mode="parallel")
        # stopped at once when the other fails, long before its own end
        exp.add([Script(inline="sleep 100"), Script(inline="sleep 1; exit 5")], name="one ends all", executor=small, mode="parallel")
        exp.run(detach=True)
        _until_over(exp)
        yield exp


def _attempt(experiment: Experiment, name: str) -> Path:
    task = experiment._written().spec().task(name)
    return experiment._written().attempt_directory(task, 1)


def _exits(experiment: Experiment, name: str) -> dict[str, str]:
    return {path.stem: path.read_text().strip() for path in sorted((_attempt(experiment, name) / "commands").glob("*.exit"))}


def _last_line(experiment: Experiment, name: str) -> str:
    return (_attempt(experiment, name) / "logs" / "main-rank-0.txt").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "world"),
    [
        ("both nodes", {"size": 4, "total": 6, "nodes": ["n1", "n2"]}),
        ("heterogeneous", {"size": 3, "total": 3, "nodes": ["n1", "n2"]}),
    ],
)
def test_srun_makes_one_world(experiment, name, world):
    assert experiment.status()[name].value == "succeeded", experiment.logs(name)
    assert json.loads(_last_line(experiment, name)) == world


@pytest.mark.parametrize(("name", "line"), [("connected", "2 workers [143, 143, 143, 143, 143, 143, 142]"), ("distributed", "(3, 3, 2)")])
def test_a_program_of_either_job_mode_is_a_tracked_task(experiment, name, line):
    assert experiment.status()[name].value == "succeeded", experiment.logs(name)
    assert _last_line(experiment, name) == line


@pytest.mark.parametrize(
    ("name", "state", "exits"),
    [
        ("one by one", "failed", {"0": "0", "1": "4"}),
        ("one by one, all", "failed", {"0": "0", "1": "4", "2": "0"}),
        ("side by side", "succeeded", {"0": "0", "1": "0"}),
        ("one ends all", "failed", {"0": "ended by a signal", "1": "5"}),
    ],
)
def test_each_command_of_a_group_has_an_end_of_its_own(experiment, name, state, exits):
    assert experiment.status()[name].value == state, experiment.logs(name)
    ends = {index: "ended by a signal" if int(code) > 128 else code for index, code in _exits(experiment, name).items()}
    assert ends == exits


def test_every_rank_has_a_log(experiment):
    names = sorted(path.name for path in (_attempt(experiment, "both nodes") / "logs").iterdir())
    assert names == ["log.txt", *(f"main-rank-{rank}.txt" for rank in range(4))]


def test_this_python_is_the_one_the_tasks_run(experiment):
    assert sys.executable in (_attempt(experiment, "connected") / "script.sh").read_text()
