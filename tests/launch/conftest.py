"""What tests of the launch layer share: a host from which a Slurm is seen that nobody asks anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcflow.launch.executors import slurm
from hpcflow.launch.launchers import wording


@pytest.fixture
def no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory and home; what rendering looks up is said here: Slurm 23.11 with pmi2 and pmix, and MPICH's mpirun."""
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "known_version", lambda: (23, 11))
    monkeypatch.setattr(wording, "offered_types", lambda: frozenset({"none", "pmi2", "pmix"}))
    monkeypatch.setattr(wording, "find_mpirun", lambda program: ("/opt/bin/mpirun", "mpich"))
