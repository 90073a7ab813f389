"""mpirun: a request becomes the argument list of Open MPI's or MPICH's mpirun.

Invariant: `command` is pure and never needs a shell; only `detect` runs a program. Whatever differs between the two (root, binding, oversubscription,
variables) is worded here and nowhere else.

    >>> command(LaunchRequest(("python", "job.py"), ranks=2), "mpich")
    ['mpirun', '-print-all-exitcodes', '-launcher', 'fork', '-bind-to', 'none', '-genv', 'POLARS_MAX_THREADS', '1', '-n', '2', 'python', 'job.py']
"""

from __future__ import annotations

import subprocess
from typing import Literal

from hpcflow.errors import LaunchError
from hpcflow.launch.launchers.request import LaunchRequest

Flavour = Literal["openmpi", "mpich"]


def command(request: LaunchRequest, flavour: Flavour, mpirun: str = "mpirun") -> list[str]:
    """The whole argument list; `mpirun` is the program's path."""
    words = _openmpi(request) if flavour == "openmpi" else _mpich(request)
    return [mpirun, *words, "-n", str(request.ranks), *request.program]


def _openmpi(request: LaunchRequest) -> list[str]:
    words = ["--allow-run-as-root"] if request.as_root else []
    if request.hosts:
        words += ["--host", _host_list(request)]
    words += _openmpi_placement(request)
    for name, value in request.variables().items():
        words += ["-x", f"{name}={value}"]
    return words


def _openmpi_placement(request: LaunchRequest) -> list[str]:
    """Open MPI binds to a core when told nothing, and refuses more ranks than slots (cores)."""
    if request.bind == "core":
        return ["--map-by", f"slot:PE={request.cores_per_rank}", "--bind-to", "core"]
    mapping = ["--map-by", "slot:OVERSUBSCRIBE"] if request.oversubscribed() else []
    return [*mapping, "--bind-to", "none"]


def _mpich(request: LaunchRequest) -> list[str]:
    """Hydra takes more ranks than cores without a word; alone on this host it must not look for ssh."""
    words = ["-print-all-exitcodes"]  # one line at the end, the only place where Hydra says which rank ended how
    if request.hosts:
        words += ["-hosts", _host_list(request)]
    elif not request.in_allocation:
        words += ["-launcher", "fork"]
    words += ["-bind-to", f"core:{request.cores_per_rank}" if request.bind == "core" else "none"]
    for name, value in request.variables().items():
        words += ["-genv", name, value]
    return words


def _host_list(request: LaunchRequest) -> str:
    return ",".join(f"{host}:{ranks}" for host, ranks in request.hosts)


def flavour_of(version_text: str) -> Flavour | None:
    """Which MPI wrote this `mpirun --version` text; None for one that hpcflow has no wording for.

    >>> flavour_of("mpirun (Open MPI) 5.0.11")
    'openmpi'
    """
    if "Open MPI" in version_text or "OpenRTE" in version_text or "PRRTE" in version_text:
        return "openmpi"
    if "HYDRA" in version_text or "MPICH" in version_text or "Intel(R) MPI" in version_text:
        return "mpich"  # Intel MPI's mpirun is a Hydra and takes the same words
    return None


def detect(mpirun: str, timeout_s: float = 20.0) -> Flavour:
    """Asks the program at `mpirun` for its version; raises LaunchError when it cannot be run or is neither of the two."""
    try:
        answer = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{mpirun} --version did not run ({error}): is it the mpirun of an MPI installed here?") from error
    flavour = flavour_of(answer.stdout + answer.stderr)
    if flavour is None:
        first = ((answer.stdout + answer.stderr).strip().splitlines() or ["nothing"])[0]
        raise LaunchError(f"{mpirun} is neither Open MPI's nor MPICH's (it says: {first}); start the ranks yourself: `{mpirun} ... python job.py`")
    return flavour
