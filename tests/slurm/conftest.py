"""Three Slurms of two virtual nodes for all tests here (plain, with accounting, with what nodes may have), and how to run a program in one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from hpcflow.testing.slurm import SlurmCluster, missing_programs
from tests.slurm.failures import Cases

MPICH = find_spec("mpich") is not None or (Path(sys.prefix) / "bin" / "mpichversion").exists()
PROJECT = Path(__file__).parents[2]


@contextmanager
def _place(accounting: bool = False) -> Iterator[Path]:
    """A directory for a cluster. Fails, and does not skip, where Slurm is not installed: these tests are asked for by name."""
    if missing := missing_programs(accounting):
        pytest.fail(f"{', '.join(missing)} not found: apt-get install slurm-wlm munge slurmdbd mariadb-server-core")
    if os.geteuid() != 0:
        pytest.fail("slurmd starts steps as the submitting user and has to be started by root")
    directory = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A running cluster without accounting."""
    with _place() as directory, SlurmCluster(directory) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def accounting_slurm() -> Iterator[SlurmCluster]:
    """A running cluster with slurmdbd, which watches memory."""
    with _place(accounting=True) as directory, SlurmCluster(directory, cpus=8, accounting=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def equipped_slurm() -> Iterator[SlurmCluster]:
    """A running cluster whose nodes say that they have GPUs, disks and features, with licences, a second partition and a reservation."""
    gpus = "".join(f"NodeName=n{i} Name=gpu Type=a100 File=/dev/null,/dev/zero\nNodeName=n{i} Name=nvme Count=4\n" for i in (1, 2))
    extra = "GresTypes=gpu,nvme\nLicenses=matlab:50,abaqus:50\nPartitionName=other Nodes=n[1-2]"
    with _place() as directory:
        (directory / "gres.conf").write_text(gpus)
        with SlurmCluster(directory, cpus=8, extra=extra, node_extra="Feature=alike,own Gres=gpu:a100:2,nvme:4") as cluster:
            words = ("ReservationName=later", "StartTime=now+100days", "Duration=60", "Users=root", "Nodes=n[1-2]")
            subprocess.run(["scontrol", "create", "reservation", *words], env=cluster.environment, check=True, capture_output=True)
            yield cluster


@pytest.fixture(scope="session")
def failing_cases(accounting_slurm: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    """What test_failures.py looks at, submitted before the first of all tests here: some of it takes as long as Slurm's shortest time limit."""
    cases = Cases(accounting_slurm, tmp_path_factory.mktemp("failures"))
    cases.submit()
    yield cases
    cases.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever looks at the failing cases comes last, and they are submitted first."""
    last = [item for item in items if "failing_cases" in getattr(item, "fixturenames", ())]
    if last:
        items[:] = [item for item in items if item not in last] + last
        first = next(item for item in items if Path(str(item.path)).parent == Path(__file__).parent)
        names = first.fixturenames  # type: ignore[attr-defined]
        names.insert(0, "failing_cases") if "failing_cases" not in names else None


@pytest.fixture
def at_home(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, for experiments too, that are submitted to the first cluster and polled at the least interval."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HPCFLOW_LAUNCH_POLL_S", "10")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_in_slurm(slurm: SlurmCluster, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_in_slurm(command, ..., program=TEXT)` -> the ended process; PROGRAM in the command is its file."""

    def run(*command: str, program: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "job.py"
        file.write_text(program)
        environment = slurm.environment | {
            "PYTHONPATH": str(PROJECT),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }
        words = [word.replace("PROGRAM", str(file)) for word in command]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=90, check=False, cwd=tmp_path)

    return run
