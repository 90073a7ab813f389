"""`hpcflow doctor`: what is wrong with this installation and machine, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcflow.cli.checks.result import CheckResult


def doctor(*, json: bool = False) -> int:
    """Check the installation, this host and MPI; ends with status 1 when a check fails.

    Parameters
    ----------
    json
        Print one JSON document instead of lines, e.g. for a bug report.
    """
    results = examine()
    if not results:
        return 0
    print(_as_json(results) if json else _as_text(results))
    return 1 if any(result.status == "fail" for result in results) else 0


def examine() -> list[CheckResult]:
    """All checks, in the order in which their failures explain each other; none on later tasks of a Slurm step: the first one speaks."""
    import os

    from hpcflow.cli.checks import installation, machine, mpi
    from hpcflow.launch.launchers.environment import detect
    from hpcflow.resources import usable_cores

    world = mpi.check_slurm_world(os.environ)
    if detect(os.environ).rank > 0:
        return []
    results = [
        installation.check_foreign(),
        installation.check_versions(),
        installation.check_kernels(),
        machine.check_threads(os.environ, usable_cores()),
        machine.check_binding(os.environ, os.sched_getaffinity(0), os.cpu_count() or 1),
        machine.check_memory(os.environ),
        machine.check_scratch(os.environ),
        mpi.check_mpi_wheels(),
        mpi.check_launcher(os.environ),
        world,
    ]
    return [*results, *mpi.check_trial(os.environ)]


def _as_json(results: list[CheckResult]) -> str:
    import dataclasses
    import json
    import platform

    checks = [dataclasses.asdict(result) for result in results]
    return json.dumps({"host": platform.node(), "machine": platform.machine(), "checks": checks}, indent=2)


def _as_text(results: list[CheckResult]) -> str:
    lines = [line for result in results for line in result.lines()]
    failed, warned = (sum(result.status == status for result in results) for status in ("fail", "warn"))
    verdict = f"{failed} failed, {warned} warnings" if failed or warned else "all is well"
    return "\n".join([*lines, f"hpcflow doctor: {verdict}"])
