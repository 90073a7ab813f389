"""How an executor's options change the words of a step: binding, further words for srun, heterogeneous components as one MPI world.

Invariant: pure; words that are not srun's are left as they are, or refused where an option asks for srun.

    srun_words(SlurmExecutor(cpu_bind="cores"), ("srun", "--ntasks=4", "prog"))     # ('srun', '--cpu-bind=cores', '--ntasks=4', 'prog')
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcflow.errors import ConfigError
from hpcflow.launch.executors.base import ranks_of

if TYPE_CHECKING:
    from hpcflow.launch.executors.slurm import SlurmExecutor

BINDING = ("cpu_bind", "gpu_bind", "distribution")
"""Options of an executor that are options of srun."""


def srun_words(executor: SlurmExecutor, argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command's words in the job. Raises ConfigError for options of srun where the ranks start otherwise."""
    binding = tuple(f"--{option.replace('_', '-')}={value}" for option in BINDING if (value := getattr(executor, option)) is not None)
    if argv[0] != "srun":
        if binding and executor.launcher != "none":
            raise ConfigError(f"{binding[0]} is an option of srun, and this task's ranks start by mpirun: say launcher='srun', or leave it out")
        if executor.components and executor.launcher != "none":
            raise ConfigError("a heterogeneous job has one MPI world by srun alone, and this MPI speaks no plugin of this Slurm's srun")
        return argv
    end = next(i for i, word in enumerate(argv[1:], 1) if not word.startswith("-"))
    if executor.cpus_per_gpu is not None:  # srun takes one of the two
        argv = (*(word for word in argv[:end] if not word.startswith("--cpus-per-task=")), *argv[end:])
        end -= 1
    if not executor.components:
        return (argv[0], *binding, *executor.srun_args, *argv[1:])
    options = [word for word in argv[1:end] if not word.startswith(("--ntasks=", "--cpus-per-task="))]
    words = ["srun"]
    for number, fields in enumerate((executor, *executor.components)):  # each component has its own ranks and cores; all are one world
        cores = f"--cpus-per-task={fields.cpus_per_task or 1}" if fields.cpus_per_gpu is None else f"--cpus-per-gpu={fields.cpus_per_gpu}"
        shape = [f"--het-group={number}", f"--ntasks={ranks_of(fields)}", cores]
        words += [*([":"] if number else []), *shape, *options, *binding, *executor.srun_args, *argv[end:]]
    return tuple(words)
