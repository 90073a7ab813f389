"""Checks of this host: cores against Polars threads, memory budget, scratch directories. None of them starts MPI."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from hpcflow.cli.checks.result import CheckResult

_LITTLE_MEMORY = 1 << 30
_LITTLE_SCRATCH = 5 << 30


def check_threads(environ: Mapping[str, str], cores: int) -> CheckResult:
    """Polars makes one pool a process, of all cores unless POLARS_MAX_THREADS says otherwise: several ranks then fight for them."""
    from hpcflow.launch.launchers.environment import detect

    text = environ.get("POLARS_MAX_THREADS")
    if text is not None and not (text.isdigit() and int(text) > 0):
        return CheckResult("threads", "fail", f"POLARS_MAX_THREADS={text!r} is no number", "unset it: `hpcflow run` sets it for each rank")
    threads = int(text) if text else cores
    ranks = _ranks_here(environ)
    if ranks * threads > cores and (ranks > 1 or threads > cores):
        finding = f"{ranks} rank(s) on this host x {threads} Polars threads = {ranks * threads}, on {cores} cores"
        return CheckResult("threads", "warn", finding, f"set POLARS_MAX_THREADS={max(1, cores // ranks)}, or start with `hpcflow run`")
    started = "" if detect(environ).launched else "; `hpcflow run` gives each worker its own cores"
    return CheckResult("threads", "ok", f"{cores} cores, {threads} Polars threads in each of {ranks} process(es) here{started}")


def check_binding(environ: Mapping[str, str], cpus: Collection[int], online: int) -> CheckResult:
    """Whether this process is bound to some of the host's CPUs, and what workers will do about it."""
    from hpcflow.cli.binding import bound_by

    wish, by = environ.get("HPCFLOW_BIND", "auto"), bound_by(environ, cpus, online)
    if wish not in ("auto", "none"):
        return CheckResult("binding", "fail", f"HPCFLOW_BIND={wish!r}", "set it to auto or none")
    if by is not None:
        return CheckResult("binding", "ok", f"bound by {by} to {len(cpus)} of {online} CPUs; workers stay there")
    if len(cpus) < online:
        finding = f"{len(cpus)} of {online} CPUs may be used here (affinity or cgroup)"
    else:
        finding = f"not bound: all {online} CPUs may be used"
    then = "HPCFLOW_BIND=none: workers bind nothing" if wish == "none" else "workers of one node share them out where all threads get a core"
    return CheckResult("binding", "ok", f"{finding}; {then}")


def _ranks_here(environ: Mapping[str, str]) -> int:
    from hpcflow.launch.launchers.environment import detect

    return detect(environ).local_size or 1


def check_memory(environ: Mapping[str, str]) -> CheckResult:
    """The budget that workers get when the user names none."""
    from hpcflow.runtime.memory_limits import default_limit_bytes, node_limit

    limit = node_limit(environ)
    workers = max(1, _ranks_here(environ) - 1)
    budget = default_limit_bytes(workers, environ)
    finding = f"{_gib(limit.size_bytes)} for this job here (limit: {limit.source}); budget of one of {workers} worker(s): {_gib(budget)}"
    if budget < _LITTLE_MEMORY:
        return CheckResult("memory", "warn", finding, "ask for more memory (Slurm: --mem), or start fewer ranks on a host; small budgets spill often")
    return CheckResult("memory", "ok", finding)


def check_scratch(environ: Mapping[str, str]) -> CheckResult:
    """Where blocks spill to: writable, on a disk of this host, with room."""
    from hpcflow.runtime.file_systems import default_scratch, file_system_type, free_bytes, preference, writable

    named = environ.get("HPCFLOW_SCRATCH")
    directories = tuple(named.split(os.pathsep)) if named else default_scratch(environ)
    remedy = "set HPCFLOW_SCRATCH to a directory on a disk of this host"
    unusable = [path for path in directories if not writable(path)]
    if unusable:
        return CheckResult("scratch", "fail", f"{', '.join(unusable)}: not a directory that can be written", remedy)
    finding = ", ".join(f"{path} ({file_system_type(os.path.realpath(path)) or 'unknown'}, {_gib(free_bytes(path))} free)" for path in directories)
    worst = max(preference(path) for path in directories)
    if worst == 2:
        return CheckResult("scratch", "warn", f"{finding}: takes memory", remedy)
    if worst == 1:
        return CheckResult("scratch", "warn", f"{finding}: on the network, spilling will be slow", remedy)
    if sum(map(free_bytes, directories)) < _LITTLE_SCRATCH:
        return CheckResult("scratch", "warn", f"{finding}: little room", remedy)
    return CheckResult("scratch", "ok", finding)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB"
