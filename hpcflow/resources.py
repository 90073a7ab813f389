"""The cores and GPUs that this process may use, and whom it may know by pid.

(Memory is `runtime/memory_limits.py`, scratch directories are `runtime/file_systems.py`.)

Invariant: reads only, and never answers with the machine's nominal size when this process's affinity or cgroup allows less. Files are read below
`root`, so that tests give a directory of their own.

    >>> usable_cores() >= 1
    True
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may run on: its affinity, cut by a cgroup v2 CPU quota; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has no affinity
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


_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")


def visible_gpus(environ: Mapping[str, str], root: Path = Path("/")) -> tuple[str, ...]:
    """Ids of the GPUs this process may use: what its environment says (Slurm sets these variables too), else NVIDIA's device files.

    >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "1,3"}), visible_gpus({"CUDA_VISIBLE_DEVICES": ""}), visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"})
    (('1', '3'), (), ())
    """
    for name in _GPU_VARIABLES:
        if name in environ:
            ids = [item.strip() for item in environ[name].split(",")]
            end = next((i for i, item in enumerate(ids) if not item or item == "-1" or item.lower() in ("nodevfiles", "void", "none")), len(ids))
            return tuple(ids[:end])  # CUDA ignores what stands behind an id that is none
    numbers = sorted(int(file.name.removeprefix("nvidia")) for file in (root / "dev").glob("nvidia[0-9]*") if file.name[6:].isdigit())
    return tuple(map(str, numbers))


def process_namespace() -> int:
    """Number of this process's namespace of process ids: pids mean the same to processes of one host and one number. 0 where it cannot be asked."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
