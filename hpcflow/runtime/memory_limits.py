"""How much memory this node lets the job have, and the share of it that one worker takes as its budget.

Invariant: the smallest limit that holds wins, and `MemoryLimit.source` says which it was: a cgroup's (v1 or v2, at any level above the process),
Slurm's, or the node's. All files are read below `root`, so that tests give a directory of their own.

    default_limit_bytes(workers_on_node=4)      # 60 % of the node's limit, divided by 4
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

BUDGET_SHARE = 0.6
"""Of a worker's memory; the rest is for operators' working memory, the interpreter and MPI."""

_UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63


@dataclass(frozen=True)
class MemoryLimit:
    """A limit for all processes of the job on this node."""

    size_bytes: int
    source: str
    """For messages: `cgroup /path`, `SLURM_MEM_PER_NODE`, `node`."""


def default_limit_bytes(workers_on_node: int, environ: Mapping[str, str] | None = None, root: str = "/") -> int:
    """Budget of one worker when the user gives none, in bytes."""
    if workers_on_node < 1:
        raise ValueError(f"workers_on_node is {workers_on_node}, at least 1 is needed")
    return max(1, int(node_limit(environ, root).size_bytes * BUDGET_SHARE) // workers_on_node)


def node_limit(environ: Mapping[str, str] | None = None, root: str = "/") -> MemoryLimit:
    """The smallest limit on this node. Unreadable files and variables that are no numbers are no limit."""
    environ = os.environ if environ is None else environ
    return min([*_cgroup_limits(Path(root)), *_slurm_limits(environ), _node_memory(Path(root))], key=lambda limit: limit.size_bytes)


def _cgroup_limits(root: Path) -> Iterator[MemoryLimit]:
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        if controllers == "":
            yield from _limits_above(root / "sys/fs/cgroup", path, "memory.max")
            yield from _limits_above(root / "sys/fs/cgroup", path, "memory.high")  # above it processes are slowed to a crawl
        elif "memory" in controllers.split(","):
            yield from _limits_above(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")


def _limits_above(mount: Path, path: str, name: str) -> Iterator[MemoryLimit]:
    # In a container the path may be that of the host: the levels that are not visible here are skipped, the mount's own file counts.
    group = PurePosixPath("/") / path
    for level in (group, *group.parents):
        size = _number(_read(mount / str(level).lstrip("/") / name))
        if size is not None and size < _UNLIMITED:
            yield MemoryLimit(size, f"cgroup {level}")


def _slurm_limits(environ: Mapping[str, str]) -> Iterator[MemoryLimit]:
    # In megabytes; 0 means all of the node's memory. Slurm sets one of the two, by --mem or --mem-per-cpu.
    per_node = _number(environ.get("SLURM_MEM_PER_NODE", ""))
    if per_node:
        yield MemoryLimit(per_node << 20, "SLURM_MEM_PER_NODE")
    per_cpu, cpus = _number(environ.get("SLURM_MEM_PER_CPU", "")), _number(environ.get("SLURM_CPUS_ON_NODE", ""))
    if per_cpu and cpus:
        yield MemoryLimit((per_cpu << 20) * cpus, "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE")


def _node_memory(root: Path) -> MemoryLimit:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return MemoryLimit(int(line.split()[1]) << 10, "node")
    return MemoryLimit(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "node")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None
