"""LocalExecutor: jobs as processes of this host, within a budget of cores, memory and GPUs.

Invariant: a process is known by host, boot id, pid and start time together, so that no other one is ever taken for it or ended in its
place. What runs on another host is `unknown` here.

    LocalExecutor(cores=8, memory_mb=32_000)
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.checked import at_least, checked
from hpcflow.launch.executors.attempt_files import read_exit, write_files
from hpcflow.launch.executors.base import Executor, FailureClass, JobHandle, JobState, JobStatus, Rendered
from hpcflow.launch.executors.common import check_common
from hpcflow.launch.executors.processes import boot_id, process_start, process_state, processes_of
from hpcflow.launch.executors.shell import render_script
from hpcflow.launch.launchers.environment import without_launcher
from hpcflow.launch.launchers.wording import local_argv
from hpcflow.launch.request import JobRequest, LauncherName
from hpcflow.resources import usable_cores

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""By which a task knows its GPUs; empty for one that asked for none."""
_STARTED: dict[int, subprocess.Popen[bytes]] = {}
"""Children of this process, to be reaped."""


@checked
@dataclass(frozen=True)
class LocalExecutor(Executor):
    """This host.

    cores, memory_mb, gpus: what all tasks that run together may take (default: this process's cores; memory not limited); gpus: ids, dealt out
    env, setup, python, workdir: as for every executor
    launcher, ntasks, cpus_per_task: of a task that says nothing else
    """

    name: ClassVar[str] = "local"
    cores: int | None = None
    memory_mb: int | None = None
    gpus: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    setup: Sequence[str] = ()
    python: str | None = None
    workdir: str | None = None
    launcher: LauncherName = "none"
    ntasks: int = 1
    cpus_per_task: int = 1

    def __post_init__(self) -> None:
        at_least(self, 1, "cores", "memory_mb", "ntasks", "cpus_per_task")
        for id in self.gpus:
            if not id or "," in id or not id.isprintable() or self.gpus.count(id) > 1:
                raise ConfigError(f"LocalExecutor.gpus: {id!r} is no id of one GPU, or stands twice: give a list such as ['0', '1']")
        if self.launcher == "srun":
            raise ConfigError("LocalExecutor.launcher='srun' needs a Slurm allocation: say 'mpirun' or 'mpi', or take a SlurmExecutor")
        check_common(self)

    def admit(self, request: JobRequest) -> None:
        if request.ntasks * request.cpus_per_task > self._cores() and not any(command.launcher != "none" for command in request.commands):
            raise ConfigError(
                f"task {request.task!r} wants {request.ntasks} x {request.cpus_per_task} cores, and this executor has {self._cores()}: "
                f"ask for fewer, or give LocalExecutor(cores=...)"
            )
        if self.memory_mb is not None and (request.memory_mb or 0) > self.memory_mb:
            raise ConfigError(f"task {request.task!r} wants {request.memory_mb} MB, and this executor has {self.memory_mb}")
        if request.gpus > len(self.gpus):
            raise ConfigError(f"task {request.task!r} wants {request.gpus} GPUs, and this executor has {len(self.gpus)}: LocalExecutor(gpus=...)")

    def render(self, request: JobRequest) -> Rendered:
        self.admit(request)
        request = _dealt(request)
        argvs = {command.name: local_argv(command, request) for command in request.commands}
        return Rendered(request, {"script.sh": render_script(request, argvs)}, ("/bin/sh", f"{request.directory}/script.sh"))

    def submit(self, rendered: Rendered) -> JobHandle:
        write_files(rendered)
        request = rendered.request
        log = Path(request.directory) / "logs" / "log.txt"
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as out:
            try:
                process = subprocess.Popen(
                    rendered.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    close_fds=True,
                    env=without_launcher(os.environ),  # whatever job or rank submits, this is a job of its own
                )
            except OSError as error:
                raise LaunchError(f"task {request.task!r} did not start: {error}") from error
        _STARTED[process.pid] = process
        return _handle(request.key, request.directory, process.pid)

    def find(self, wanted: Mapping[str, str]) -> dict[str, JobHandle]:
        scripts: dict[tuple[str, ...], str] = {("/bin/sh", f"{directory}/script.sh"): key for key, directory in wanted.items()}
        found = {scripts[argv]: pid for argv, pid in processes_of(list(scripts)).items()}
        handles = {key: _handle(key, wanted[key], pid) for key, pid in found.items()}
        for key, directory in wanted.items():
            if key not in handles and (Path(directory) / "claim.json").exists():
                handles[key] = JobHandle(key, directory, "claimed", {"host": socket.gethostname(), "boot_id": boot_id(), "start": ""})
        return handles

    def states(self, handles: Sequence[JobHandle]) -> dict[str, JobStatus]:
        return {handle.key: read_exit(handle.directory) or self._without_exit(handle) for handle in handles}

    def _without_exit(self, handle: JobHandle) -> JobStatus:
        if handle.facts.get("host") != socket.gethostname():
            return JobStatus(JobState.UNKNOWN, reason=f"runs on {handle.facts.get('host')}; ask there")
        if handle.facts.get("boot_id") != boot_id():
            return JobStatus(JobState.FAILED, failure=FailureClass.NODE, reason="the host was started anew")
        code = _reap(handle)
        if code is None and (_is_child(handle) or _alive(handle)):
            return JobStatus(JobState.RUNNING)
        ended = read_exit(handle.directory)  # written between the two looks
        if ended is not None:
            return ended
        if (Path(handle.directory) / "cancelled").exists():
            return JobStatus(JobState.CANCELLED, 137, reason="ended by force")
        status = 137 if code is None else 128 - code if code < 0 else code
        return JobStatus(JobState.FAILED, status, FailureClass.PROGRAM, "its shell ended without an exit file: killed, or out of memory")

    def cancel(self, handles: Sequence[JobHandle], force: bool = False) -> None:
        for handle in handles:
            if handle.id.isdigit() and handle.facts.get("boot_id") == boot_id() and _alive(handle):
                (Path(handle.directory) / "cancelled").touch(mode=0o600)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(int(handle.id), signal.SIGKILL if force else signal.SIGTERM)

    def tell(self, handle: JobHandle) -> None:
        if handle.facts.get("host") != socket.gethostname():
            raise LaunchError(f"the job runs on {handle.facts.get('host')}: cancel the command there")
        if handle.id.isdigit() and handle.facts.get("boot_id") == boot_id() and _alive(handle):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(handle.id), signal.SIGUSR2)

    def place(self, request: JobRequest, running: Sequence[JobRequest]) -> JobRequest | None:
        cores = sum(r.ntasks * r.cpus_per_task for r in running) + request.ntasks * request.cpus_per_task
        memory = sum(r.memory_mb or 0 for r in running) + (request.memory_mb or 0)
        taken = {id for r in running for id in r.environment.get(GPU_VARIABLE, "").split(",")}
        free = [id for id in self.gpus if id not in taken]
        fits = cores <= self._cores() and (self.memory_mb is None or memory <= self.memory_mb) and request.gpus <= len(free)
        if running and not fits:
            return None
        if not self.gpus:
            return request
        return replace(request, environment={**request.environment, GPU_VARIABLE: ",".join(free[: request.gpus])})

    def _cores(self) -> int:
        return self.cores or usable_cores()


def _dealt(request: JobRequest) -> JobRequest:
    """The request with the job's GPUs shared out among the commands that say how many they need: side by side each has its own."""
    free = [id for id in request.environment.get(GPU_VARIABLE, "").split(",") if id]
    commands = []
    for command in request.commands:
        own = free[: command.gpus] if command.gpus is not None else []
        commands.append(command if command.gpus is None else replace(command, environment={GPU_VARIABLE: ",".join(own), **command.environment}))
        free = free[len(own) :] if request.mode == "parallel" else free
    return replace(request, commands=tuple(commands))


def _handle(key: str, directory: str, pid: int) -> JobHandle:
    return JobHandle(key, directory, str(pid), {"host": socket.gethostname(), "boot_id": boot_id(), "start": process_start(pid)})


def _alive(handle: JobHandle) -> bool:
    """Whether the very process of the handle runs, or has left others in its session (a zombie does not run)."""
    if not handle.id.isdigit():
        return False
    return process_start(int(handle.id)) == handle.facts.get("start") != "" and process_state(int(handle.id)) != "Z"


def _is_child(handle: JobHandle) -> bool:
    """Whether this process has started it and not yet seen its end: then nobody has to be asked."""
    return handle.id.isdigit() and int(handle.id) in _STARTED


def _reap(handle: JobHandle) -> int | None:
    process = _STARTED.get(int(handle.id)) if handle.id.isdigit() else None
    if process is None:
        return None
    code = process.poll()
    if code is not None:
        del _STARTED[process.pid]
    return code
