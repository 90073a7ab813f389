"""Cores of a worker rank, chosen before anything has made a thread pool: one block of cores for each worker of the host, the master (if any) unbound.

Invariant: pure but for `bind_worker`; when the host has fewer cores than its workers ask for, nobody is bound.

    >>> worker_cores(2, 2, 3, 1, ((0,), (1,)))
    frozenset({1})
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping


def worker_cores(
    rank: int, local_rank: int, local_size: int, cores_each: int, cores: tuple[tuple[int, ...], ...], master: bool = True
) -> frozenset[int] | None:
    """CPUs of this rank, None for one that stays unbound.

    rank, local_rank, local_size: in the world, and among the ranks of this host
    cores_each: cores of one worker
    cores: usable CPUs of this host, hardware threads of one core together
    master: rank 0 coordinates and needs no cores of its own, unless it is alone on its host
    """
    if master and rank == 0 and local_size > 1:
        return None
    master_here = master and rank == local_rank and local_size > 1  # ranks are placed in blocks: the first host's ranks are their local ranks
    place = local_rank - 1 if master_here else local_rank
    workers = local_size - 1 if master_here else local_size
    if workers * cores_each > len(cores):
        return None
    return frozenset(cpu for core in cores[place * cores_each : (place + 1) * cores_each] for cpu in core)


def bound_by(environ: Mapping[str, str], cpus: Collection[int], online: int) -> str | None:
    """Who has bound this rank to fewer CPUs than the host has; None: nobody, as far as the environment tells (a cgroup alone binds nobody).

    >>> bound_by({"SLURM_CPU_BIND_TYPE": "mask_cpu:"}, {0, 1}, 8), bound_by({"SLURM_CPU_BIND_TYPE": "none"}, {0, 1}, 8), bound_by({}, {0, 1}, 8)
    ('Slurm', None, None)
    """
    if len(cpus) >= online:
        return None
    if environ.get("SLURM_CPU_BIND_TYPE", "none").rstrip(":") not in ("none", ""):
        return "Slurm"
    if any(name in environ for name in ("HYDRA_BINDING", "PRTE_MCA_hwloc_default_binding_policy")) and "none" not in (
        environ.get("HYDRA_BINDING", ""),
        environ.get("PRTE_MCA_hwloc_default_binding_policy", ""),
    ):
        return "mpirun"
    return None


def bind_worker(cores_each: int, master: bool = True) -> None:
    """Bind this process as `worker_cores` says, by the environment its launcher gave it."""
    from hpcflow.launch.launchers.environment import detect
    from hpcflow.resources import physical_cores

    hint = detect(os.environ)
    if hint.local_rank is None or hint.local_size is None or os.environ.get("HPCFLOW_BIND") == "none":
        return
    if bound_by(os.environ, os.sched_getaffinity(0), os.cpu_count() or 1) is not None:
        return
    cpus = worker_cores(hint.rank, hint.local_rank, hint.local_size, cores_each, physical_cores(), master)
    if cpus:
        os.sched_setaffinity(0, cpus)
