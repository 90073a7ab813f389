"""What this process may use of its machine: memory, cores, scratch directories.

Invariant: reads only; the answers are the tightest limit that holds for this process (its cgroups, its Slurm job, its affinity), never the machine's
nominal size when a limit is lower. The deciding parts are pure on the given environment and file-system root, so they are tested without a cluster.

    >>> usable_cores() >= 1 and memory_limit().bytes > 0
    True
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20
_UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with a number near 2**63


@dataclass(frozen=True)
class MemoryLimit:
    """bytes: what this process and its siblings in the same cgroup, job or node may use together; source: where the number stands."""

    bytes: int
    source: str


def memory_limit(environ: Mapping[str, str] | None = None, root: Path = Path("/")) -> MemoryLimit:
    """The tightest of the cgroup's (v1 or v2), Slurm's and the node's memory."""
    environ = os.environ if environ is None else environ
    limits = [*_cgroup_limits(root), *_slurm_limits(environ), *_node_limits(root)]
    if not limits:
        raise OSError(f"no memory limit can be read below {root}: neither cgroup files nor proc/meminfo are there")
    return min(limits, key=lambda limit: limit.bytes)


def memory_limit_bytes() -> int:
    return memory_limit().bytes


def _node_limits(root: Path) -> list[MemoryLimit]:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return [MemoryLimit(int(line.split()[1]) * 1024, "node memory (/proc/meminfo)")]
    return []


def _slurm_limits(environ: Mapping[str, str]) -> list[MemoryLimit]:
    """SLURM_MEM_PER_NODE in MiB, or SLURM_MEM_PER_CPU in MiB times the job's cores on this node; 0 means all of the node."""
    per_node, per_cpu, cpus = (environ.get(name, "") for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"))
    limits = []
    if per_node.isdigit() and int(per_node) > 0:
        limits.append(MemoryLimit(int(per_node) * _MIB, "Slurm (SLURM_MEM_PER_NODE)"))
    if per_cpu.isdigit() and cpus.isdigit() and int(per_cpu) * int(cpus) > 0:
        limits.append(MemoryLimit(int(per_cpu) * int(cpus) * _MIB, "Slurm (SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE)"))
    return limits


def _cgroup_limits(root: Path) -> list[MemoryLimit]:
    """Limits of this process's cgroup and of every one above it: a parent's limit holds for its children."""
    limits = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits_upwards(root / "sys/fs/cgroup", path, "memory.max", "cgroup v2")
        elif "memory" in controllers.split(","):
            limits += _limits_upwards(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "cgroup v1")
    return limits


def _limits_upwards(mount: Path, path: str, name: str, kind: str) -> list[MemoryLimit]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    limits = []
    for depth in range(len(parts), -1, -1):
        file = mount.joinpath(*parts[:depth], name)
        text = _text(file).strip()
        if text.isdigit() and int(text) < _UNLIMITED:
            limits.append(MemoryLimit(int(text), f"{kind} ({file})"))
    return limits


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may run on: its affinity, cut by a cgroup v2 CPU quota; at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _cpu_quota(root)
    return max(1, cores if quota is None else min(cores, int(quota)))


def _cpu_quota(root: Path) -> float | None:
    """Cores that the quota of this process's cgroup v2 (or one above it) is worth, None without a quota."""
    path = next((line.split(":", 2)[2] for line in _text(root / "proc/self/cgroup").splitlines() if line.startswith("0::")), "")
    parts = [part for part in path.split("/") if part not in ("", "..")]
    quotas = []
    for depth in range(len(parts), -1, -1):
        words = _text((root / "sys/fs/cgroup").joinpath(*parts[:depth], "cpu.max")).split()
        if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def physical_cores(cpus: frozenset[int] | None = None, root: Path = Path("/")) -> tuple[tuple[int, ...], ...]:
    """The usable CPUs grouped by physical core (hardware threads of one core together), in order of their first CPU."""
    cpus = frozenset(os.sched_getaffinity(0)) if cpus is None else cpus
    cores: dict[int, list[int]] = {}
    for cpu in sorted(cpus):
        siblings = parse_cpu_list(_text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")) or (cpu,)
        cores.setdefault(min(siblings), []).append(cpu)
    return tuple(tuple(core) for core in cores.values())


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """CPU numbers of the kernel's list format.

    >>> parse_cpu_list("0-2,7")
    (0, 1, 2, 7)
    """
    numbers: list[int] = []
    for item in text.strip().split(",") if text.strip() else []:
        first, _, last = item.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


@dataclass(frozen=True)
class Scratch:
    """A directory for spilling: path, free bytes for this user, file system type ("tmpfs" counts as memory), and whether it can be written."""

    path: Path
    free_bytes: int
    file_system: str
    writable: bool

    @property
    def in_memory(self) -> bool:
        return self.file_system in ("tmpfs", "ramfs")

    @property
    def shared(self) -> bool:
        return self.file_system in ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "fuse.glusterfs", "ceph", "cifs")


def scratch_candidates(environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Where to spill, best first, each once: a job's node-local directory, then the temporary directories, existing ones only."""
    environ = os.environ if environ is None else environ
    named = [environ.get(name, "") for name in ("SLURM_TMPDIR", "JOBFS", "LOCAL_SCRATCH", "SCRATCH_LOCAL", "TMPDIR")]
    seen: dict[Path, None] = {}
    for text in [*named, "/local/scratch", "/scratch/local", "/var/tmp", "/tmp"]:
        if text and Path(text).is_dir():
            seen.setdefault(Path(text).resolve())
    return tuple(seen)


def describe_scratch(path: Path, root: Path = Path("/")) -> Scratch:
    """Free space, type and writability of one existing directory."""
    status = os.statvfs(path)
    kind = file_system_of(path, _text(root / "proc/self/mounts"))
    return Scratch(path, status.f_bavail * status.f_frsize, kind, os.access(path, os.W_OK | os.X_OK))


def file_system_of(path: Path, mounts: str) -> str:
    """Type of the file system that holds `path`: the longest mount point above it in the text of /proc/self/mounts.

    >>> file_system_of(Path("/tmp/a"), "disk / ext4 rw 0 0\\nmem /tmp tmpfs rw 0 0")
    'tmpfs'
    """
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        words = line.split()
        if len(words) >= 3:
            point = Path(words[1].replace("\\040", " "))
            if (point == path or point in path.parents) and len(point.parts) >= best:
                best, kind = len(point.parts), words[2]
    return kind


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
