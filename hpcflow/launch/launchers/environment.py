"""What a rank's environment says about the world it was started in, before any MPI call.

Invariant: pure on the given environment. A hint may be wrong about MPI (a launcher of another MPI was used); `check_world` compares it with
the world that MPI then reports, and words the refusal.

    >>> detect({"PMI_RANK": "1", "PMI_SIZE": "3", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "3"})
    WorldHint(launcher='mpich', rank=1, size=3, local_rank=1, local_size=3, slurm_step_tasks=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hpcflow.errors import LaunchError

Launcher = Literal["none", "openmpi", "mpich", "srun"]

LAUNCHER_PREFIXES = ("SLURM_", "SBATCH_", "SRUN_", "PMI_", "PMIX_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_LOCAL", "PALS_")
"""Variables that say which job, step or rank a process is; in a job of its own they would say it of another one."""
_KEPT = ("SLURM_CONF", "OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
"""How a site or a user has set up the launcher itself."""


def without_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a job of its own, whatever job, step or rank this process is in.

    >>> without_launcher({"SLURM_JOB_ID": "7", "PMI_RANK": "0", "HOME": "/h", "SLURM_CONF": "/etc/slurm.conf"})
    {'HOME': '/h', 'SLURM_CONF': '/etc/slurm.conf'}
    """
    return {name: value for name, value in environ.items() if not name.startswith(LAUNCHER_PREFIXES) or name in _KEPT}


@dataclass(frozen=True)
class WorldHint:
    """What the launcher left in the environment.

    launcher: which kind started this process: mpirun of "openmpi" or "mpich", "srun", or "none"
    rank, size: in the launcher's world; 0 and 1 without a launcher
    local_rank, local_size: among the ranks on this host, None when the launcher does not say
    slurm_step_tasks: tasks of the Slurm step this process belongs to, None outside a step (a batch script or an salloc shell is no step)
    """

    launcher: Launcher
    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    slurm_step_tasks: int | None

    @property
    def launched(self) -> bool:
        """Started by an MPI launcher as one of several, or as a world of one."""
        return self.launcher != "none"


def detect(environ: Mapping[str, str]) -> WorldHint:
    """Reads the variables of Open MPI, MPICH's Hydra (and Intel MPI), and Slurm, in this order."""
    step_tasks = _number(environ, "SLURM_STEP_NUM_TASKS") if "SLURM_STEP_ID" in environ else None
    if "OMPI_COMM_WORLD_RANK" in environ:
        return WorldHint("openmpi", *_pair(environ, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
                         _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK"), _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE"), step_tasks)  # fmt: skip
    if "PMI_RANK" in environ and ("MPI_LOCALRANKID" in environ or step_tasks is None):
        return WorldHint("mpich", *_pair(environ, "PMI_RANK", "PMI_SIZE"),
                         _number(environ, "MPI_LOCALRANKID"), _number(environ, "MPI_LOCALNRANKS"), step_tasks)  # fmt: skip
    if step_tasks is not None and _is_task(environ, step_tasks):
        return WorldHint("srun", _number(environ, "SLURM_PROCID") or 0, step_tasks,
                         _number(environ, "SLURM_LOCALID"), _local_tasks(environ), step_tasks)  # fmt: skip
    return WorldHint("none", 0, 1, None, None, step_tasks)


def _is_task(environ: Mapping[str, str], step_tasks: int) -> bool:
    """A step of one task is a launch only when srun offers it a PMI: an interactive shell is a step of one task too."""
    return step_tasks > 1 or any(name in environ for name in ("PMI_RANK", "PMI_FD", "PMIX_RANK"))


def _local_tasks(environ: Mapping[str, str]) -> int | None:
    """This node's entry of SLURM_STEP_TASKS_PER_NODE, e.g. "2(x3),1": two tasks on each of three nodes, then one."""
    counts: list[int] = []
    for item in environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        count, _, repeat = item.partition("(x")
        if not count.isdigit():
            return None
        counts += [int(count)] * (int(repeat.rstrip(")")) if repeat else 1)
    node = _number(environ, "SLURM_NODEID")
    return counts[node] if node is not None and node < len(counts) else None


def check_world(hint: WorldHint, world_size: int, mpi_library: str = "") -> None:
    """Raises LaunchError when MPI reports a world of 1 though the launcher started several processes: each would run the whole program alone.

    mpi_library: what MPI says about itself (`MPI_Get_library_version`), to name the launch line that fits it
    """
    if world_size > 1 or hint.size <= 1:
        return
    openmpi = "open mpi" in mpi_library.lower()
    if hint.launcher == "srun":
        raise LaunchError(_slurm_refusal(hint, openmpi, mpi_library))
    raise LaunchError(
        f"mpirun of {'Open MPI' if hint.launcher == 'openmpi' else 'MPICH'} started {hint.size} processes, but this Python's MPI"
        f"{_named(mpi_library)} sees a world of 1: the mpirun belongs to another MPI. "
        "Use the one of this Python's environment: `hpcflow run job.py -n N`, or `$(dirname $(which python))/mpirun -n N python job.py`"
    )


def _slurm_refusal(hint: WorldHint, openmpi: bool, mpi_library: str) -> str:
    fitting = "`srun --mpi=pmix python job.py`" if openmpi else "`srun --mpi=pmi2 python job.py`"
    return (
        f"this Slurm step has {hint.slurm_step_tasks} tasks, but MPI{_named(mpi_library)} sees a world of 1: srun and MPI speak no common PMI. "
        f"Use {fitting} (`srun --mpi=list` shows what this Slurm has), or `mpirun -n {hint.size} python job.py` inside `salloc`/`sbatch`"
    )


def _named(mpi_library: str) -> str:
    first = mpi_library.split(",")[0].strip().splitlines()
    return f" ({first[0]})" if first else ""


def _pair(environ: Mapping[str, str], rank: str, size: str) -> tuple[int, int]:
    return _number(environ, rank) or 0, _number(environ, size) or 1


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isdigit() else None
