"""Looking without driving: ask the executors how open attempts are, and write down what they say.

Invariant: one question an executor for all experiments of the user, at least `poll_s` apart (the time of the last one is the age of a file); no
answer changes nothing; an experiment that has a living driver is left to it.
"""

from __future__ import annotations

import contextlib
import time

from hpcflow.errors import HpcflowError
from hpcflow.launch.executors.base import JobHandle, JobState, QueryFailedError
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment.catalog import Index, directories
from hpcflow.launch.experiment.lease import driven
from hpcflow.launch.experiment.records import Records, View
from hpcflow.launch.home import home
from hpcflow.launch.settings import settings


def refresh_states(records: Records) -> None:
    """Bring the journal of an experiment that nobody drives up to date, and those of the user's others with the same question."""
    if driven(records.directory):
        return
    view = records.view()
    kinds = {view.spec.task(name).executor["type"] for name in _open(view)}
    for kind in sorted(kinds):
        if kind == "local":
            _ask(kind, [(records, view)])
        elif _may_ask(kind):
            _ask(kind, [(records, view), *_others(records)])


def _open(view: View) -> dict[str, JobHandle]:
    """Task -> handle of the attempts that are not over."""
    return {name: handle for name, handle in view.handles.items() if handle is not None and not view.attempts[name][-1].status.state.final}


def _may_ask(kind: str) -> bool:
    stamp = home() / f"asked-{kind}"
    try:
        age = time.time() - stamp.stat().st_mtime
    except FileNotFoundError:
        age = float("inf")
    if age < settings().poll_s:
        return False
    stamp.touch(mode=0o600)
    stamp.touch()
    return True


def _others(records: Records) -> list[tuple[Records, View]]:
    """Experiments that nobody drives and that have an end to come; those of which a `list` has seen the end are not read again."""
    index = Index()
    try:
        ended = {row["directory"] for row in index.rows() if row.get("status") is not None}
    finally:
        index.close()
    found = []
    for path in directories():
        if path != records.directory and str(path) not in ended and not driven(path):
            with contextlib.suppress(HpcflowError, KeyError):  # a damaged one is told of by `list`
                others = Records(path)
                found.append((others, others.view()))
    return found


def _ask(kind: str, views: list[tuple[Records, View]]) -> None:
    handles: list[JobHandle] = []
    executor = None
    for _, view in views:
        for name, handle in _open(view).items():
            if view.spec.task(name).executor["type"] == kind:
                executor = executor or from_json(view.spec.task(name).executor)
                handles.append(handle)
    if executor is None:
        return
    try:
        found = executor.states(handles)
    except QueryFailedError:
        return
    for records, view in views:
        for name, handle in _open(view).items():
            status = found.get(handle.key)
            last = view.attempts[name][-1]
            if status is None or status == last.status:
                continue
            if status.state is JobState.CANCELLED and status.reason.startswith("Dependency"):
                records.note("skipped", task=name, reason=f"{view.spec.task(name).condition.value} cannot come true")
            else:
                records.observe(name, last.number, status)
