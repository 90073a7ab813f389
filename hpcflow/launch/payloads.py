"""What a task runs, as plain data: made when the task is added, turned into a JobRequest for each attempt.

    {"kind": "commands", "mode": "sequential", "on_failure": "stop", "commands": [{"name": "main", "argv": [...], "env": {...}}]}

A word of `argv` is a text, which is the user's and stays as it is, or {"in": "task" or "code", "file": "runner.py"}: a place that each attempt knows.

Invariant: a payload holds no secret's value; a Secret is its reference. No text of the user's is read for anything.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from hpcflow.errors import ConfigError
from hpcflow.launch import runner
from hpcflow.launch.calls import call_document, pickled_document, variables_in
from hpcflow.launch.config.buildable import Buildable, missing_arguments, name_of
from hpcflow.launch.config.files import dumps
from hpcflow.launch.config.script import Script
from hpcflow.launch.config.secret import Secret
from hpcflow.launch.executors.base import Executor, FailureClass, ranks_of
from hpcflow.launch.experiment.model import Task
from hpcflow.launch.group import Step
from hpcflow.launch.home import slug
from hpcflow.launch.packagers.base import place_in
from hpcflow.launch.request import Command, JobRequest, LauncherName, Mode, OnFailure

Word = str | Mapping[str, str]


def _inside(folder: Literal["task", "code"], file: str = "") -> Word:
    """A file of the task's directory, or of the packaged code."""
    return {"in": folder, "file": file}


def _word(word: Word, directory: Path, code: Path | None) -> str:
    """A word for an attempt. directory: of the attempt; code: None in a dry run, before there is a package."""
    if isinstance(word, str):
        return word
    return str((directory.parent.parent if word["in"] == "task" else code or Path("PACKAGED-CODE")) / word["file"])


def function_payload(task: Any, executor: Executor, by_value: bool, packed: Path | None = None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The payload of a Partial or a Config, and the files that go into the task's directory. packed: the folder whose code goes along."""
    if isinstance(task, Buildable) and (missing := missing_arguments(task)):
        raise ConfigError(f"{name_of(task)} needs {missing}: a task is called with what its {type(task).__name__} holds, and nothing else")
    python = _python_of(executor)
    files: dict[str, bytes] = {"runner.py": Path(runner.__file__).read_bytes()}
    if by_value:
        document, files["function.pkl"] = pickled_document(task, packed)
    else:
        document = call_document(task, packed)
        files["config.yaml"] = _written(task)
    files["call.json"] = json.dumps(document, indent=1).encode()
    argv = [python, _inside("task", "runner.py"), _inside("task")]
    label = slug(name_of(task).rpartition(":")[2]) if isinstance(task, Buildable) else slug(getattr(task, "__name__", "function"))
    commands = [{"name": "main", "argv": argv, "env": {}}]
    secrets = {name: {"variable": [name]} for name in (variables_in(task) if isinstance(task, Buildable) else ())}
    needed = [document["main_in_code"]] if document.get("main_in_code") else []
    return {"kind": "function", "label": label, "commands": commands, "secrets": secrets, "workdir": os.getcwd(), "needs_code": needed}, files


def _python_of(executor: Executor) -> str:
    return os.path.expanduser(getattr(executor, "python", None) or sys.executable)


def _written(task: Any) -> bytes:
    """The whole configuration, defaults included, for people and for `launch.load`."""
    try:
        return dumps(task).encode()
    except ConfigError as error:  # the call can travel all the same
        return "".join(f"# {line}\n" for line in f"no configuration file can hold this: {error}\nSee call.json.".splitlines()).encode()


def payload_of(task: Any, executor: Executor, mode: str, on_failure: str, packed: Path | None = None) -> dict[str, Any]:
    """The payload of a Script or of a list of Scripts and Steps (a group). Raises ConfigError for anything else."""
    if isinstance(task, Step):
        raise ConfigError("a Step is one command of a group: give a list of them, or its Script alone with its needs as arguments of add()")
    members = list(task) if isinstance(task, list | tuple) else [task]
    if not members:
        raise ConfigError("an empty group: give at least one Script")
    if mode not in get_args(Mode) or on_failure not in get_args(OnFailure):
        raise ConfigError(f"a group has mode={' or '.join(get_args(Mode))} and on_failure={' or '.join(get_args(OnFailure))}")
    python = _python_of(executor)
    commands: list[dict[str, Any]] = []
    for item in members:
        member, step = (item.script, item) if isinstance(item, Step) else (item, None)
        if isinstance(member, Buildable):
            raise ConfigError(f"a group is made of Scripts and Steps, and {name_of(member)} is a function's call: give it a task of its own")
        if callable(member) and not isinstance(member, Script):
            named = getattr(member, "__name__", type(member).__name__)
            raise ConfigError(f"the function {named} is no task: say launch.Partial({named}, ...), or by_value=True, which sends it as a pickle")
        if not isinstance(member, Script):
            raise ConfigError(f"{type(member).__name__} is no task: give a Script, a Partial, a Config, or a list of Scripts and Steps")
        name = step.name if step is not None and step.name is not None else _label(member)
        taken = {command["name"] for command in commands}
        if name in taken:
            if step is not None and step.name is not None:
                raise ConfigError(f"two steps of one group are called {name!r}: give each its own name")
            name = next(f"{name}-{i}" for i in range(2, len(taken) + 3) if f"{name}-{i}" not in taken)
        plain = {variable: value for variable, value in member.env.items() if not isinstance(value, Secret)}
        secrets = {variable: _reference(value) for variable, value in member.env.items() if isinstance(value, Secret)}
        own: dict[str, Any] = {} if step is None else {**step.needs, **({"launcher": step.launcher} if step.launcher else {})}
        commands.append({"name": name, "argv": _placed(member, python, packed), "env": plain, "secrets": secrets, **own})
    if len(commands) == 1:
        label, commands[0]["name"] = commands[0]["name"], "main"
    else:
        label = "group"
    whole = commands[0].pop("secrets") if len(commands) == 1 else {}  # its lines of setup may use them
    return {
        "kind": "commands", "label": label, "mode": mode, "on_failure": on_failure, "commands": commands, "secrets": whole, "workdir": os.getcwd(),
    }  # fmt: skip


def secrets_of(payload: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The variables that a payload's Secrets are given to, and those of the submitting process that they name."""
    groups = [payload.get("secrets", {}), *(command.get("secrets", {}) for command in payload["commands"])]
    given = frozenset(variable for group in groups for variable in group)
    named = frozenset(reference["variable"][0] for group in groups for reference in group.values() if "variable" in reference)
    return given, named


def _label(script: Script) -> str:
    name = Path(script.path).stem if script.path else script.module.rpartition(".")[2] if script.module else "script"
    return slug(name)


def _placed(script: Script, python: str, packed: Path | None) -> list[Word]:
    """The words; a script's file as it is in the package, else by its full path, since a job may start elsewhere."""
    path = str(script.path)
    inside = place_in(packed, path) if packed is not None and not os.path.isabs(path) else None
    place = os.path.abspath(path) if inside is None else _inside("code", inside)
    words: list[Word] = [*script.argv(python)]
    if path:
        words[len(words) - len(script.args) - 1] = place
    return words


def require_packaged(files: Path, payloads: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ConfigError for a task (name -> payload) whose script, or the driver script of whose function, did not go into the package."""
    for task, payload in payloads.items():
        words: list[Word] = [word for command in payload["commands"] for word in command["argv"]]
        scripts = (word["file"] for word in words if not isinstance(word, str) and word["in"] == "code")
        for inside in (*scripts, *payload.get("needs_code", ())):
            if not (files / inside).is_file():
                raise ConfigError(f"task {task!r} runs {inside}, which the packager did not pack: add it to its patterns, or to git")


def _reference(secret: Secret) -> dict[str, Any]:
    """A secret as the payload has it: its kind, and the words that say where it is."""
    return {secret.kind: [os.path.expanduser(word) for word in secret.source] if secret.kind == "file" else list(secret.source)}


def _secret(reference: Mapping[str, Any]) -> Secret:
    ((kind, source),) = reference.items()
    return Secret(cast(Literal["variable", "file", "command"], kind), tuple(source))


def job_request(task: Task, executor: Executor, number: int, key: str, directory: Path, code: Path | None) -> JobRequest:
    """Attempt `number` of a task. code: the packaged code, in front of everything else that Python imports."""
    payload = task.payload
    launcher: LauncherName = getattr(executor, "launcher", "none")
    commands = tuple(
        Command(
            argv=tuple(_word(word, directory, code) for word in command["argv"]),
            name=command["name"],
            environment=dict(command.get("env", {})),
            secrets={name: _secret(value) for name, value in command.get("secrets", {}).items()},
            launcher=command.get("launcher") or launcher,
            ntasks=command.get("ntasks"),
            cpus_per_task=command.get("cpus_per_task"),
            memory_mb=command.get("memory_mb"),
            gpus=command.get("gpus"),
        )
        for command in payload["commands"]
    )
    return JobRequest(
        key=key,
        task=task.name,
        attempt=number,
        directory=str(directory),
        commands=commands,
        mode=payload.get("mode", "sequential"),
        on_failure=payload.get("on_failure", "stop"),
        setup=tuple(getattr(executor, "setup", ())),
        environment=dict(getattr(executor, "env", {})),
        secrets={name: _secret(value) for name, value in payload.get("secrets", {}).items()},
        workdir=os.path.join(payload["workdir"], os.path.expanduser(getattr(executor, "workdir", None) or "")).rstrip("/") or "/",
        code=None if code is None else str(code),
        ntasks=ranks_of(executor),
        cpus_per_task=int(getattr(executor, "cpus_per_task", None) or 1),
        memory_mb=task.resources.get("memory_mb"),
        gpus=int(task.resources.get("gpus", 0)),
        stop_budget=int(task.retries.get(FailureClass.STOPPED.value, 0)),
    )
