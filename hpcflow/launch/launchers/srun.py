"""srun: a request becomes the argument list of Slurm's srun inside an allocation.

Invariant: `command` is pure and never needs a shell. Variables travel as `env NAME=VALUE program ...`, since `srun --export` splits values at commas.

    >>> command(LaunchRequest(("python", "job.py"), ranks=2), "pmi2")[:5]
    ['srun', '--mpi=pmi2', '--ntasks=2', '--cpus-per-task=1', '--cpu-bind=none']
"""

from __future__ import annotations

import subprocess

from hpcflow.errors import LaunchError
from hpcflow.launch.launchers.mpirun import Flavour
from hpcflow.launch.launchers.request import LaunchRequest


def command(request: LaunchRequest, mpi_type: str, *, inside_step: bool = False, srun: str = "srun") -> list[str]:
    """The whole argument list.

    mpi_type: the plugin that the ranks' MPI speaks (see the function of that name)
    inside_step: the caller is itself a task of a step (an interactive shell), whose cores the new step shares
    """
    words = [srun, f"--mpi={mpi_type}", f"--ntasks={request.ranks}", f"--cpus-per-task={request.cores_per_rank}"]
    words.append("--cpu-bind=cores" if request.bind == "core" else "--cpu-bind=none")
    words.append("--kill-on-bad-exit=1")  # one dead rank ends the step: the others would wait for ever
    if request.oversubscribed(request.cores_per_rank):
        words.append("--overcommit")
    if inside_step:
        words.append("--overlap")
    if request.hosts:
        words += ["--distribution=arbitrary", "--nodelist=" + ",".join(host for host, ranks in request.hosts for _ in range(ranks))]
    return [*words, "env", *(f"{name}={value}" for name, value in request.variables().items()), *request.program]


def mpi_type(flavour: Flavour, offered: frozenset[str]) -> str | None:
    """The plugin by which srun gives `flavour` one world, None when this Slurm offers none (then: mpirun inside the allocation).

    Open MPI speaks PMIx only; MPICH's wheel speaks PMI-1 and PMI-2.

    >>> mpi_type("openmpi", frozenset({"pmi2", "none"})) is None
    True
    """
    wanted = ("pmix",) if flavour == "openmpi" else ("pmi2", "cray_shasta")
    return next((name for name in wanted if name in offered), None)


def parse_mpi_list(text: str) -> frozenset[str]:
    """Plugins named by `srun --mpi=list`.

    >>> sorted(parse_mpi_list("MPI plugin types are...\\n\\tnone\\n\\tpmi2\\nspecific pmix plugin versions available: pmix_v4"))
    ['none', 'pmi2', 'pmix_v4']
    """
    names: set[str] = set()
    for line in text.splitlines():
        if "available:" in line:
            names.update(word.strip() for word in line.split("available:")[1].split(","))
        elif line.strip() and not line.strip().endswith("..."):
            names.update(line.replace("srun:", "").split())
    return frozenset(name for name in names if name not in ("MPI", "types", "are", "plugin"))


def offered(srun: str = "srun", timeout_s: float = 20.0) -> frozenset[str]:
    """Asks srun for its MPI plugins; raises LaunchError when srun cannot be run, or finds no Slurm."""
    try:
        answer = subprocess.run([srun, "--mpi=list"], capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{srun} --mpi=list did not run ({error}): is Slurm's client installed on this host?") from error
    said = answer.stdout + answer.stderr
    if answer.returncode != 0:
        last = (said.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
        raise LaunchError(f"{srun} --mpi=list failed ({last}): do this on a host that Slurm is set up on, or say launcher='mpirun'")
    return parse_mpi_list(said)
