"""Experiments as text and plain data, for people and `--json`.

Invariant: names and logs are shown without control sequences, whatever they hold.
"""

from __future__ import annotations

import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment.decide import TaskState, exit_status
from hpcflow.launch.experiment.model import Spec, order
from hpcflow.launch.experiment.records import Records, View
from hpcflow.launch.payloads import job_request


def printable(text: str) -> str:
    """`text` without what a terminal would obey; line ends and tabs stay."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


def tell_change(task: str, state: TaskState, detail: str) -> None:
    """The listener of command lines: one line to stderr for each change."""
    print(printable(f"hpcflow: {task}: {state.value}{f' ({detail})' if detail else ''}"), file=sys.stderr, flush=True)


def status_rows(view: View) -> list[dict[str, Any]]:
    """One row a task: name, state, attempt, executor's id, exit code, reason."""
    states = view.states()
    rows = []
    for task in view.spec.tasks:
        attempts, handle = view.attempts[task.name], view.handles.get(task.name)
        last = attempts[-1].status if attempts else None
        rows.append(
            {
                "task": task.name,
                "state": states[task.name].value,
                "attempt": attempts[-1].number if attempts else 0,
                "executor": task.executor["type"],
                "id": handle.id if handle else None,
                "code": last.code if last else None,
                "failure": last.failure.value if last and last.failure else None,
                "reason": view.skipped.get(task.name) or (last.reason if last else ""),
                "start_estimate": last.start_estimate if last else None,
            }
        )
    return rows


def experiment_row(records: Records) -> dict[str, Any]:
    """One row of `list`."""
    view = records.view()
    states = list(view.states().values())
    return {
        "id": view.spec.id,
        "title": view.spec.title,
        "created": view.spec.created,
        "state": overall(states),
        "tasks": len(states),
        "succeeded": sum(state is TaskState.SUCCEEDED for state in states),
        "failed": sum(state in (TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED) for state in states),
        "tags": list(view.spec.tags),
        "directory": str(records.directory),
        "status": exit_status(view.spec, view.states()) if all(state.final for state in states) else None,
    }


def overall(states: list[TaskState]) -> str:
    """One word for an experiment."""
    if all(state is TaskState.SUCCEEDED for state in states):
        return "succeeded"
    if all(state.final for state in states):
        return "failed" if TaskState.FAILED in states else "cancelled" if TaskState.CANCELLED in states else "finished"
    return "running" if any(state is not TaskState.WAITING for state in states) else "waiting"


def dryrun_text(spec: Spec, directory: Path) -> str:
    """The scripts and commands of every first attempt, in the order in which they could run. An array shows one of its scripts."""
    parts: list[Any] = []  # text, or what stands for the heads of a fan-out
    shown: dict[Any, list[str]] = {}
    for task in order(spec.tasks):
        executor = from_json(task.executor)
        attempt = directory / "tasks" / task.directory / "attempts" / "1"
        request = job_request(task, executor, 1, f"{spec.id}-0-1", attempt, None)
        needs = f" after {', '.join(task.needs)} ({task.condition.value})" if task.needs else ""
        head = printable(f"# task {task.name} on {executor.name}{needs}")
        together = executor.batch_key(request)
        fan = None if together is None else (executor.name, together, task.needs, task.condition)
        if fan is not None and fan in shown:
            shown[fan].append(head)
            continue
        rendered = executor.render(request)
        if fan is not None:
            shown[fan] = [head]
            parts.append(fan)
        else:
            parts.append(head)
        parts.append(f"# {' '.join(rendered.argv)}\n")
        parts += [f"# {name}\n{text}" for name, text in rendered.files.items()]
    return "\n".join(part if isinstance(part, str) else _heads(shown[part]) for part in parts)


def _heads(lines: list[str]) -> str:
    if len(lines) == 1:
        return lines[0]
    return "\n".join([*lines, f"# one array of these {len(lines)}; the script of the first element:"])


def age(created: str) -> str:
    """How long ago, for people.

    >>> age("2020-01-01T00:00:00+0000").endswith("d")
    True
    """
    seconds = time.time() - time.mktime(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S"))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
