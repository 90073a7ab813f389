"""The lower-case collectives: any object that pickles.

Invariant: every rank gets objects of its own, made by unpickling on its own thread; a reduction calls `op(left, right)` in rank order, on one
thread.

    total = comm.allreduce(len(rows))
    everyone = comm.allgather({"rank": comm.rank})
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from hpcflow.bsp.threads.base import RankBase
from hpcflow.bsp.threads.operations import SUM, as_function
from hpcflow.bsp.threads.pickling import pickle
from hpcflow.bsp.threads.rounds import Call


class ObjectCalls(RankBase):
    """Collectives on objects."""

    def barrier(self) -> None:
        self._meet(Call("Barrier"), lambda calls: None)

    def bcast(self, obj: Any = None, root: int = 0) -> Any:
        """The root's object on all ranks; a copy on the root too."""
        root = self._root(root)
        call = Call("bcast", send=pickle.dumps(obj) if root == self.rank else None, root=root)
        return pickle.loads(self._meet(call, _bcast))

    def gather(self, sendobj: Any, root: int = 0) -> list[Any] | None:
        """The objects of all ranks, in rank order, on the root; None elsewhere."""
        root = self._root(root)
        parts = self._meet(Call("gather", send=pickle.dumps(sendobj), root=root), _gather)
        return None if parts is None else [pickle.loads(part) for part in parts]

    def scatter(self, sendobj: Sequence[Any] | None = None, root: int = 0) -> Any:
        """Item r of the root's sequence on rank r."""
        root = self._root(root)
        parts = self._parts(sendobj) if root == self.rank else None
        return pickle.loads(self._meet(Call("scatter", send=parts, root=root), _scatter))

    def allgather(self, sendobj: Any) -> list[Any]:
        """The objects of all ranks, in rank order."""
        return [pickle.loads(part) for part in self._meet(Call("allgather", send=pickle.dumps(sendobj)), _allgather)]

    def alltoall(self, sendobj: Sequence[Any]) -> list[Any]:
        """Item r of everyone's sequence to rank r."""
        return [pickle.loads(part) for part in self._meet(Call("alltoall", send=self._parts(sendobj)), _alltoall)]

    def reduce(self, sendobj: Any, op: Any = SUM, root: int = 0) -> Any:
        """`op` folded over the objects in rank order, on the root; None elsewhere. `op`: an MPI.Op or any function of two objects."""
        root = self._root(root)
        part = self._meet(Call("reduce", send=pickle.dumps(sendobj), op=as_function(op), root=root), _reduce)
        return None if part is None else pickle.loads(part)

    def allreduce(self, sendobj: Any, op: Any = SUM) -> Any:
        return pickle.loads(self._meet(Call("allreduce", send=pickle.dumps(sendobj), op=as_function(op)), _allreduce))

    def scan(self, sendobj: Any, op: Any = SUM) -> Any:
        """The reduction over ranks 0 to this one."""
        return pickle.loads(self._meet(Call("scan", send=pickle.dumps(sendobj), op=as_function(op)), _scan))

    def exscan(self, sendobj: Any, op: Any = SUM) -> Any:
        """The reduction over the ranks before this one; None on rank 0."""
        part = self._meet(Call("exscan", send=pickle.dumps(sendobj), op=as_function(op)), _exscan)
        return None if part is None else pickle.loads(part)

    def _parts(self, items: Sequence[Any] | None) -> list[bytes]:
        parts = [pickle.dumps(item) for item in (() if items is None else items)]
        if len(parts) != self.size:
            raise ValueError(f"expecting {self.size} items, got {len(parts)}")
        return parts


def _bcast(calls: list[Call]) -> None:
    part = next(call.send for call in calls if call.send is not None)
    for call in calls:
        call.result = part


def _gather(calls: list[Call]) -> None:
    calls[_root(calls)].result = [call.send for call in calls]


def _scatter(calls: list[Call]) -> None:
    for call, part in zip(calls, calls[_root(calls)].send, strict=True):
        call.result = part


def _allgather(calls: list[Call]) -> None:
    parts = [call.send for call in calls]
    for call in calls:
        call.result = parts


def _alltoall(calls: list[Call]) -> None:
    for rank, call in enumerate(calls):
        call.result = [other.send[rank] for other in calls]


def _reduce(calls: list[Call]) -> None:
    calls[_root(calls)].result = _folded(calls)


def _allreduce(calls: list[Call]) -> None:
    part = _folded(calls)
    for call in calls:
        call.result = part


def _scan(calls: list[Call]) -> None:
    for call, value in zip(calls, _partials(calls), strict=True):
        call.result = pickle.dumps(value)  # at once: an op may change its left argument


def _exscan(calls: list[Call]) -> None:
    for call, value in zip(calls[1:], _partials(calls[:-1]), strict=True):
        call.result = pickle.dumps(value)


def _partials(calls: list[Call]) -> Any:
    return itertools.accumulate((pickle.loads(call.send) for call in calls), calls[0].op) if calls else ()


def _folded(calls: list[Call]) -> bytes:
    op: Callable[[Any, Any], Any] = calls[0].op
    return pickle.dumps(functools.reduce(op, (pickle.loads(call.send) for call in calls)))


def _root(calls: list[Call]) -> int:
    root = calls[0].root
    assert root is not None
    return root
