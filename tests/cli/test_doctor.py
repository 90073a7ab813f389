"""What doctor says: each check on given facts, and the whole command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcflow.cli.checks import installation, machine, mpi
from tests.cli.programs import hpcflow, needs_mpirun

PROBE = {
    "library": "MPICH 5", "standard": [4, 1], "thread_level": "MPI_THREAD_MULTIPLE", "ranks": 2, "hosts": ["a", "a"], "shared_memory": True,
    "latency_us": 1.0, "bandwidth_gb_s": 8.0, "polars_threads": "1",
}  # fmt: skip


def test_more_polars_threads_than_cores_is_a_warning_with_the_right_number() -> None:
    environ = {"PMI_RANK": "0", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "4"}
    result = machine.check_threads(environ, cores=8)
    assert (result.status, result.remedy.split(",")[0]) == ("warn", "set POLARS_MAX_THREADS=2")
    assert machine.check_threads(environ | {"POLARS_MAX_THREADS": "2"}, cores=8).status == "ok"
    assert machine.check_threads({"POLARS_MAX_THREADS": "many"}, cores=8).status == "fail"
    assert machine.check_threads({}, cores=8).status == "ok"


def test_binding_is_told_with_who_did_it() -> None:
    slurm = {"SLURM_CPU_BIND_TYPE": "mask_cpu:"}
    assert "bound by Slurm to 2 of 8" in machine.check_binding(slurm, {0, 1}, 8).finding
    assert "workers of one node share them" in machine.check_binding({}, range(8), 8).finding
    assert "workers bind nothing" in machine.check_binding({"HPCFLOW_BIND": "none"}, range(8), 8).finding
    assert machine.check_binding({"HPCFLOW_BIND": "yes"}, range(8), 8).status == "fail"


def test_scratch_that_is_missing_fails_and_names_it(tmp_path: Path) -> None:
    result = machine.check_scratch({"HPCFLOW_SCRATCH": str(tmp_path / "absent")})
    assert result.status == "fail"
    assert str(tmp_path / "absent") in result.finding
    assert "HPCFLOW_SCRATCH" in result.remedy


def test_scratch_in_memory_is_a_warning() -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm here")
    assert machine.check_scratch({"HPCFLOW_SCRATCH": "/dev/shm"}).status == "warn"


def test_a_small_budget_is_a_warning() -> None:
    result = machine.check_memory({"SLURM_MEM_PER_NODE": "512"})
    assert result.status == "warn"
    assert "SLURM_MEM_PER_NODE" in result.finding


def test_kernels_and_versions_are_named() -> None:
    assert "SIMD level" in installation.check_kernels().finding
    assert "polars" in installation.check_versions().finding


def test_a_foreign_distribution_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcflow.foreign.foreign_version", lambda: "0.3.0")
    result = installation.check_foreign()
    assert result.status == "fail"
    assert "pip uninstall -y hpcflow hpcflow-mpi" in result.remedy


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        ({}, "thread level", "ok"),
        ({"thread_level": "MPI_THREAD_FUNNELED"}, "thread level", "fail"),
        ({"shared_memory": False}, "shared memory", "warn"),
        ({"bandwidth_gb_s": 0.1}, "bandwidth", "warn"),
    ],
)
def test_a_trial_is_judged(change: dict[str, object], name: str, status: str) -> None:
    results = {result.name: result for result in mpi.judge_probe(PROBE | change)}
    assert results[name].status == status
    assert bool(results[name].remedy) == (status != "ok")


@needs_mpirun
def test_the_command_ends_with_0_and_tells_it_as_json(tmp_path: Path) -> None:
    answer = hpcflow("doctor", "--json", cwd=tmp_path)
    checks = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    assert {"versions", "kernels", "threads", "binding", "memory", "scratch", "mpi", "launcher", "world", "foreign"} <= checks.keys()
    assert [check for check in checks.values() if check["status"] == "fail"] == []
    assert checks["thread level"]["finding"] == "MPI_THREAD_MULTIPLE"
    assert answer.returncode == 0


@pytest.mark.thorough
def test_the_command_ends_with_1_when_a_check_fails(tmp_path: Path) -> None:
    answer = hpcflow("doctor", cwd=tmp_path, HPCFLOW_SCRATCH="/absent")
    assert answer.returncode == 1
    assert "fail  scratch" in answer.stdout
    assert "-> set HPCFLOW_SCRATCH" in answer.stdout
