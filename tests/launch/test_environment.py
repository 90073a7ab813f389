"""What a rank's environment says, and the refusal of a world of one."""

from __future__ import annotations

import pytest

from hpcflow.errors import LaunchError
from hpcflow.launch.launchers.environment import WorldHint, check_world, detect

OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "3", "PMIX_RANK": "2",
}  # fmt: skip
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "2", "PMI_FD": "9", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_NTASKS": "4"}  # fmt: skip
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
INTERACTIVE_STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("environ", "hint"),
    [
        ({}, WorldHint("none", 0, 1, None, None, None)),
        (OPEN_MPI, WorldHint("openmpi", 2, 3, 2, 3, None)),
        (MPICH, WorldHint("mpich", 1, 2, 1, 2, None)),
        (STEP, WorldHint("srun", 3, 4, 1, 2, 4)),
        (STEP | {"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_FD": "5"}, WorldHint("srun", 3, 4, 1, 2, 4)),
        (STEP | {"PMIX_RANK": "3"}, WorldHint("srun", 3, 4, 1, 2, 4)),
        (STEP | MPICH, WorldHint("mpich", 1, 2, 1, 2, 4)),
        (STEP | OPEN_MPI, WorldHint("openmpi", 2, 3, 2, 3, 4)),
        (BATCH_SCRIPT, WorldHint("none", 0, 1, None, None, None)),
        (INTERACTIVE_STEP, WorldHint("none", 0, 1, None, None, 1)),
        ({"PMI_RANK": "x"}, WorldHint("mpich", 0, 1, None, None, None)),
    ],
    ids=["laptop", "openmpi", "mpich", "srun", "srun-pmi2", "srun-pmix", "mpich-in-step", "openmpi-in-step", "batch", "interactive", "garbled"],
)  # fmt: skip
def test_the_environment_tells_the_world(environ: dict[str, str], hint: WorldHint) -> None:
    assert detect(environ) == hint


def test_a_batch_script_and_a_shell_are_no_launch() -> None:
    assert not detect(BATCH_SCRIPT).launched
    assert not detect(INTERACTIVE_STEP).launched
    assert detect(MPICH).launched


@pytest.mark.parametrize(("library", "words"), [("Open MPI v5.0.11, package: x", "srun --mpi=pmix"), ("MPICH Version: 5.0.2", "srun --mpi=pmi2")])
def test_a_world_of_one_in_a_step_of_several_tasks_is_refused_with_the_right_srun(library: str, words: str) -> None:
    with pytest.raises(LaunchError, match="this Slurm step has 4 tasks, but MPI") as refusal:
        check_world(detect(STEP), 1, library)
    assert words in str(refusal.value)
    assert "`mpirun -n 4 python job.py` inside `salloc`/`sbatch`" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_world_of_one_under_another_mpis_mpirun_is_refused() -> None:
    with pytest.raises(LaunchError, match=r"mpirun of Open MPI started 3 processes, .* \(MPICH Version: 5.0.2\) sees a world of 1"):
        check_world(detect(OPEN_MPI), 1, "MPICH Version: 5.0.2")


@pytest.mark.parametrize(("environ", "size"), [({}, 1), (MPICH, 2), (STEP, 4), (BATCH_SCRIPT, 1), (MPICH | {"PMI_SIZE": "1"}, 1)])
def test_a_fitting_world_is_accepted(environ: dict[str, str], size: int) -> None:
    check_world(detect(environ), size)
