"""The wording of srun: golden argument lists, and which PMI fits which MPI."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hpcflow.errors import LaunchError
from hpcflow.launch.launchers import srun
from hpcflow.launch.launchers.mpirun import Flavour
from hpcflow.launch.launchers.request import LaunchRequest

JOB = ("python", "job.py")
SLURM_22_LIST = "MPI plugin types are...\n\tcray_shasta\n\tnone\n\tpmi2\n"
SLURM_23_LIST = "MPI plugin types are...\n\tnone\n\tpmi2\n\tpmix\nspecific pmix plugin versions available: pmix_v4,pmix_v5\n"


@pytest.mark.parametrize(
    ("request_", "inside_step", "line"),
    [
        (
            LaunchRequest(JOB, ranks=4, available_cores=4, in_allocation=True),
            False,
            "srun --mpi=pmi2 --ntasks=4 --cpus-per-task=1 --cpu-bind=none --kill-on-bad-exit=1 env POLARS_MAX_THREADS=1 python job.py",
        ),
        (
            LaunchRequest(JOB, ranks=4, cores_per_rank=2, available_cores=4, env={"A": "b,c d"}),
            True,
            "srun --mpi=pmi2 --ntasks=4 --cpus-per-task=2 --cpu-bind=none --kill-on-bad-exit=1 --overcommit --overlap "
            "env 'A=b,c d' POLARS_MAX_THREADS=2 python job.py",
        ),
        (
            LaunchRequest(JOB, ranks=3, hosts=(("a", 2), ("b", 1)), bind="core"),
            False,
            "srun --mpi=pmi2 --ntasks=3 --cpus-per-task=1 --cpu-bind=cores --kill-on-bad-exit=1 --distribution=arbitrary --nodelist=a,a,b "
            "env POLARS_MAX_THREADS=1 python job.py",
        ),
    ],
)
def test_the_argument_list_is_the_golden_one(request_: LaunchRequest, inside_step: bool, line: str) -> None:
    assert shlex.join(srun.command(request_, "pmi2", inside_step=inside_step)) == line


@pytest.mark.parametrize(
    ("flavour", "text", "kind"),
    [("mpich", SLURM_22_LIST, "pmi2"), ("openmpi", SLURM_22_LIST, None), ("mpich", SLURM_23_LIST, "pmi2"), ("openmpi", SLURM_23_LIST, "pmix")],
)
def test_an_mpi_gets_the_pmi_it_speaks(flavour: Flavour, text: str, kind: str | None) -> None:
    assert srun.mpi_type(flavour, srun.parse_mpi_list(text)) == kind


def test_old_slurm_lists_are_read_too() -> None:
    assert srun.parse_mpi_list("srun: MPI types are...\nsrun: none\nsrun: pmi2\n") == {"none", "pmi2"}


def test_an_srun_that_finds_no_slurm_offers_nothing_and_says_why(tmp_path: Path) -> None:
    program = tmp_path / "srun"
    program.write_text("#!/bin/sh\necho 'srun: error: fetch_config: lookup failed' >&2\necho 'srun: fatal: no configuration source' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(LaunchError, match=r"--mpi=list failed \(srun: fatal: no configuration source\)"):
        srun.offered(str(program))
