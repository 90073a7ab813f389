"""One Slurm of two virtual nodes for all tests here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcflow.testing.slurm import SlurmCluster, missing_programs


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A running cluster. Fails, and does not skip, where Slurm is not installed: `make test-slurm` is asked for by name."""
    if missing := missing_programs():
        pytest.fail(f"{', '.join(missing)} not found: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.fail("slurmd starts steps as the submitting user and has to be started by root")
    directory = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with SlurmCluster(directory) as cluster:
            yield cluster
    finally:
        shutil.rmtree(directory, ignore_errors=True)
