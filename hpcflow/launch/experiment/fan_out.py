"""Attempts that can be submitted now, put together: a fan-out becomes batches, everything else is submitted by itself.

Invariant: pure; an attempt that was announced keeps its key, so whoever looks for it finds it; only attempts with equal `batch_key`s share a batch,
and a batch has at least two members, or is the rest of one that was announced.

    plan([a, b, c], "3f9c2a10", 1000)     # [Group("3f9c2a10-5b1e88f2", {0: a, 1: b}), Group(None, {0: c})]
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from hpcflow.launch.executors.base import Batch, Executor, JobHandle, batch_of, element_key
from hpcflow.launch.experiment.model import Task
from hpcflow.launch.request import JobRequest

T = TypeVar("T")


@dataclass(frozen=True)
class Ready:
    """An attempt to submit. announced: its key is written down already, by whoever could not finish; else it gets one here."""

    task: Task
    number: int
    request: JobRequest
    executor: Executor
    announced: bool


@dataclass(frozen=True)
class Group:
    """What one submission takes. key: of the batch; None: its one member is no element of any."""

    key: str | None
    members: Mapping[int, Ready]

    def batch(self, directory: Path) -> Batch:
        """For the executor. directory: of the experiment."""
        assert self.key is not None
        rendered = {index: ready.executor.render(ready.request) for index, ready in self.members.items()}
        return Batch(self.key, str(directory / "arrays" / self.key), rendered)

    def submit(self, directory: Path) -> dict[str, JobHandle]:
        """Key -> handle. Raises as the executor does."""
        executor = next(iter(self.members.values())).executor
        if self.key is not None:
            return executor.submit_batch(self.batch(directory))
        (ready,) = self.members.values()
        return {ready.request.key: executor.submit(executor.render(ready.request))}


def plan(ready: Sequence[Ready], experiment: str, limit: int) -> list[Group]:
    """In the order of the first member of each. limit: members of a batch at most (a batch takes what its executor allows anyway)."""
    together: dict[Hashable, list[Ready]] = {}
    for number, each in enumerate(ready):
        together.setdefault(_company(each, number), []).append(each)
    groups: list[Group] = []
    for company, members in together.items():
        if isinstance(company, tuple) and company[0] == "announced":
            elements = {_index(each): each for each in members}
            indices = list(elements)
            groups += [Group(company[1], {index: elements[index] for index in some}) for some in _chunks(indices, limit)]
        elif len(members) == 1:
            groups.append(Group(None, {0: _keyed(members[0], experiment)}))
        else:
            size = min(limit, members[0].executor.batch_size())
            groups += [_batch(some, experiment) for some in _chunks(members, size)]
    return groups


def _company(each: Ready, number: int) -> Hashable:
    """What those that can be submitted together have in common."""
    if each.announced:
        batch = batch_of(each.request.key)
        return ("announced", batch[0]) if batch is not None else number
    shared = each.executor.batch_key(each.request)
    return number if shared is None else ("new", each.executor.name, shared)


def _index(each: Ready) -> int:
    batch = batch_of(each.request.key)
    assert batch is not None
    return batch[1]


def _batch(members: Sequence[Ready], experiment: str) -> Group:
    if len(members) == 1:
        return Group(None, {0: _keyed(members[0], experiment)})
    key = f"{experiment}-{os.urandom(4).hex()}"
    return Group(key, {i: replace(each, request=replace(each.request, key=element_key(key, i))) for i, each in enumerate(members)})


def _keyed(each: Ready, experiment: str) -> Ready:
    if each.announced:
        return each
    return replace(each, request=replace(each.request, key=f"{experiment}-{os.urandom(4).hex()}-{each.number}"))


def _chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[first : first + size] for first in range(0, len(items), max(size, 1))]
