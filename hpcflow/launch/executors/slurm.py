"""SlurmExecutor: jobs by sbatch.

Invariant: a request is rendered without contacting Slurm (its version aside, when known); submitting passes no variable of this process but those
named; one squeue tells of all jobs of the user; a failed query raises and concludes nothing.

    SlurmExecutor(partition="main", nodes=2, ntasks_per_node=8, time="02:00:00", launcher="srun")
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.checked import at_least, checked
from hpcflow.launch.executors import handing_over, slurm_array, slurm_states
from hpcflow.launch.executors import slurm_commands as commands
from hpcflow.launch.executors.attempt_files import write_files
from hpcflow.launch.executors.base import Batch, Executor, JobHandle, JobStatus, Rendered, SubmitUnclearError
from hpcflow.launch.executors.common import check_common
from hpcflow.launch.executors.shell import render_script
from hpcflow.launch.executors.slurm_commands import known_version
from hpcflow.launch.executors.slurm_directives import directive, no_percent, refuse_control, short_name, with_defaults
from hpcflow.launch.executors.slurm_fields import SlurmFields, dependency_text, options_of
from hpcflow.launch.executors.slurm_steps import BINDING, srun_words
from hpcflow.launch.launchers.wording import slurm_argv
from hpcflow.launch.request import JobRequest, LauncherName
from hpcflow.launch.settings import recent_settings

EXPORTED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "MODULEPATH", "LD_LIBRARY_PATH")
"""Variables whose values travel with a job unless `exports` says otherwise."""
_BINDING_WORDS = re.compile(r"[A-Za-z0-9_:,.*+-]+\Z")
_OURS = re.compile(r"(--(?:job-name|output|error|open-mode|export|export-file|array|requeue|no-requeue|wrap)(?![\w-])|-[Joea])")
"""Options that say how a job is found, where its logs are and what it inherits."""


@checked
@dataclass(frozen=True)
class SlurmExecutor(SlurmFields, Executor):
    """A Slurm cluster that this host submits to. Its options are the fields of `SlurmFields`, and:

    launcher: how the ranks of a task start unless the task says otherwise
    dependency: further Slurm dependencies, kind -> job ids; dependency_any: one of them is enough
    array_limit: elements of an array that run at once (equal tasks that can be submitted together are one array)
    components: those of a heterogeneous job beyond the first; one MPI world by srun
    extra_directives: options as they are, e.g. ("--spread-job",); srun_args: words for every srun
    cpu_bind, gpu_bind, distribution: of the steps that srun starts, in srun's words, e.g. "cores", "closest", "block:cyclic" (default: the site's)
    exports: variables whose values travel along, in the job's script; env: variables with values; setup: lines of shell; python; workdir
    hand_over: variables of the submitting process that a Secret may name: their values wait in a private file, which the job reads once and deletes
    requeue: whether Slurm may run a job again by itself
    stop_before_s: USR1 to the job this long before its time limit, for `launch.should_stop()`
    templates: folders with a site's job templates
    """

    name: ClassVar[str] = "slurm"
    task_needs: ClassVar[tuple[str, ...]] = ("memory_mb",)
    launcher: LauncherName = "none"
    dependency: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dependency_any: bool = False
    array_limit: int | None = None
    components: Sequence[SlurmFields] = ()
    extra_directives: Sequence[str] = ()
    srun_args: Sequence[str] = ()
    cpu_bind: str | None = None
    gpu_bind: str | None = None
    distribution: str | None = None
    exports: Sequence[str] = EXPORTED
    hand_over: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    setup: Sequence[str] = ()
    python: str | None = None
    workdir: str | None = None
    requeue: bool = False
    stop_before_s: int | None = None
    templates: Sequence[str] = ()

    def __post_init__(self) -> None:
        SlurmFields.__post_init__(self)
        for text in (*self.extra_directives, *self.srun_args):
            refuse_control("extra option", text)
        if wrong := [text for text in self.extra_directives if not text.startswith("-")]:
            raise ConfigError(f"extra directive {wrong[0]!r} is no option: it begins with a dash")
        for text in self.extra_directives:
            if (ours := _OURS.match(text)) is not None:
                raise ConfigError(f"extra directive {text!r}: {ours[1]} is set by hpcflow, which finds its jobs and their ends by it")
        if self.components and self.launcher == "mpirun":
            raise ConfigError("a heterogeneous job has one MPI world by srun alone: say launcher='srun'")
        if self.components and self.array_limit is not None:
            raise ConfigError("a heterogeneous job cannot be an array: leave array_limit out")
        for option in BINDING:
            if (value := getattr(self, option)) is not None and not _BINDING_WORDS.match(value):
                raise ConfigError(f"{option}={value!r}: give srun's words, such as 'cores', 'closest' or 'block:cyclic'")
        if self.array_limit is not None and self.array_limit < 1:
            raise ConfigError(f"array_limit={self.array_limit}: at least one element has to run")
        at_least(self, 1, "stop_before_s")
        dependency_text(self.dependency, self.dependency_any)
        check_common(self)
        if self.requeue and self.hand_over:
            raise ConfigError(
                "hand_over: a value is handed over once, and requeue=True lets Slurm run the job again by itself; take Secret.file there"
            )
        if self.stop_before_s is not None and self.signal is not None:
            raise ConfigError("stop_before_s and signal both send a signal before the end: give one of them")

    def facts(self) -> Mapping[str, str]:
        return slurm_states.facts()

    def accept_secrets(self, given: frozenset[str], named: frozenset[str]) -> None:
        if written := sorted((given | named) & {*self.exports, *self.env}):
            raise ConfigError(f"{written[0]} is a Secret's, and exports and env write values into the job's script: take it out of them")
        if missing := sorted(named - set(self.hand_over)):
            raise ConfigError(
                f"Secret.variable({missing[0]!r}): a Slurm job inherits no variable of the process that submits it; take Secret.file or "
                f"Secret.command, or SlurmExecutor(hand_over=({missing[0]!r},)), which keeps the value in a private file until the job has read it"
            )

    # -- what would be submitted ---------------------------------------------------------------------------------------------------------------------

    def render(self, request: JobRequest) -> Rendered:
        parallel = request.mode == "parallel" and len(request.commands) > 1
        if parallel and self.components:
            raise ConfigError(
                f"task {request.task!r}: a heterogeneous job is one MPI world, and its commands run one after the other: mode='sequential'"
            )
        argvs = {c.name: srun_words(self, slurm_argv(c, request, parallel)) for c in request.commands}
        self.accept_secrets(handing_over.given_by(request), frozenset(handing_over.variables_of(request)))
        exported = {name: os.environ[name] for name in self.exports if name in os.environ}
        cores = str(self.cpus_per_gpu or self.cpus_per_task or request.cpus_per_task)
        ranks = {"POLARS_MAX_THREADS": cores} if any(command.launcher != "none" for command in request.commands) else {}  # as mpirun's ranks get it
        steps = {"SRUN_CPUS_PER_TASK": cores} if self.cpus_per_gpu is None else {}
        environment = {**exported, **steps, **ranks, **self.env, **request.environment}
        complete = replace(request, environment=environment)
        text = render_script(
            complete, argvs, directives=tuple(self.directives(request)), searchpath=(*self.templates, *recent_settings().templates), slurm=True
        )
        return Rendered(request, {"script.sh": text}, ("sbatch", "--parsable", f"{request.directory}/script.sh"))

    def batch_key(self, request: JobRequest) -> Hashable | None:
        return None if self.components else (self.templates, *self._common(request))

    def batch_size(self) -> int:
        return commands.max_array_size()

    def render_batch(self, batch: Batch) -> str:
        first = next(iter(batch.elements.values())).request
        options: list[tuple[str, str | None]] = [("job-name", f"{short_name(first.task)}.{batch.key}")]
        options.append(("output", f"{no_percent(batch.directory)}/elements/%a/logs/log.txt"))
        options.append(("array", slurm_array.indices_text(batch.elements, self.array_limit)))
        lines = [*(directive(*option) for option in options), *self._common(first)]
        return slurm_array.render(batch, tuple(lines), (*self.templates, *recent_settings().templates))

    def directives(self, request: JobRequest) -> list[str]:
        """The #SBATCH lines of a request."""
        options = [("job-name", f"{short_name(request.task)}.{request.key}"), ("output", f"{no_percent(request.directory)}/logs/log.txt")]
        return [*(directive(*option) for option in options), *self._common(request)]

    def _common(self, request: JobRequest) -> list[str]:
        """All lines but the name and the log file."""
        version = known_version()
        options: list[tuple[str, str | None]] = [("open-mode", "append"), ("export", "NIL")]
        options.append(("requeue" if self.requeue or request.stop_budget else "no-requeue", None))
        if self.stop_before_s is not None:
            options.append(("signal", f"B:USR1@{self.stop_before_s}"))
        if self.dependency:
            options.append(("dependency", dependency_text(self.dependency, self.dependency_any)))
            options.append(("kill-on-invalid-dep", "yes"))
        options += with_defaults(self.options(version), request)
        lines = [directive(*option) for option in options] + [f"#SBATCH {text}" for text in self.extra_directives]
        for component in self.components:
            lines += ["#SBATCH hetjob", *(directive(*option) for option in component.options(version))]
        return lines

    def options(self, version: tuple[int, int] | None = None) -> list[tuple[str, str | None]]:
        site = recent_settings()
        given = {name: getattr(self, name) for name in SlurmFields.__dataclass_fields__}
        defaults = {"account": site.account, "partition": site.partition, "qos": site.qos}
        for name, value in defaults.items():
            if given[name] is None and value is not None:
                refuse_control(name, value)
                given[name] = value
        return options_of(given, version)

    # -- what contacts Slurm -------------------------------------------------------------------------------------------------------------------------

    def submit(self, rendered: Rendered) -> JobHandle:
        request = rendered.request
        id = _sbatch(rendered.argv, f"task {request.task!r}", [rendered])
        return JobHandle(request.key, request.directory, id, slurm_states.facts())

    def submit_batch(self, batch: Batch) -> dict[str, JobHandle]:
        script = slurm_array.write(batch, self.render_batch(batch))
        id = _sbatch(("sbatch", "--parsable", str(script)), f"{len(batch.elements)} tasks as an array", list(batch.elements.values()))
        requests, facts = {index: rendered.request for index, rendered in batch.elements.items()}, slurm_states.facts()
        return {request.key: JobHandle(request.key, request.directory, f"{id}_{index}", facts) for index, request in requests.items()}

    def check(self, rendered: Rendered) -> str:
        """What `sbatch --test-only` says about the request. Raises LaunchError when Slurm would refuse it."""
        write_files(rendered)
        answer = commands.call((rendered.argv[0], "--test-only", *rendered.argv[2:]))
        if answer.returncode != 0:
            raise LaunchError(f"sbatch would refuse task {rendered.request.task!r}: {answer.stderr.strip()}")
        return answer.stderr.strip()

    def find(self, wanted: Mapping[str, str]) -> dict[str, JobHandle]:
        return slurm_states.find(wanted)

    def states(self, handles: Sequence[JobHandle]) -> dict[str, JobStatus]:
        return slurm_states.states(handles)

    def cancel(self, handles: Sequence[JobHandle], force: bool = False) -> None:
        for handle in handles:
            slurm_states.refuse_foreign(handle)
        for some in slurm_array.short_ids([handle.id for handle in handles]):
            commands.scancel((*(("--signal=KILL", "--full") if force else ()), *some))
        handing_over.take_back(handle.directory for handle in handles)

    def tell(self, handle: JobHandle) -> None:
        slurm_states.refuse_foreign(handle)
        commands.scancel(("--batch", "--signal=USR2", handle.id))


def _sbatch(argv: Sequence[str], what: str, all_rendered: Sequence[Rendered]) -> str:
    """Write the files of the attempts, and submit; the job's id. Values that are handed over stay only when the job may have been taken."""
    try:
        for rendered in all_rendered:
            write_files(rendered)
            handing_over.hand_over(rendered.request)
        return commands.sbatch(argv, what)
    except SubmitUnclearError:
        raise
    except BaseException:
        handing_over.take_back(rendered.request.directory for rendered in all_rendered)
        raise
