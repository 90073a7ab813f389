"""CheckedComm: a communicator that compares every collective call on all ranks before it runs; for `debug_collectives`.

Invariant: it *is* a communicator of the class that it wraps (an `mpi4py.MPI.Intracomm`, or a ThreadComm), gives the same results, and has the
same calls; point-to-point calls are the class's own. Communicators made from it (Dup, Split, Create_cart, ...) are checked too. Calls that do
not fit raise `CollectiveMismatchError` on all ranks that entered one.

    comm = CheckedComm(comm, collective_timeout_s=60)     # collective
    comm.Allreduce(...)                                   # rank 1 in Bcast: every rank is told who stands where
    comm.finish()                                         # at the end of the user's function: who still waits for this rank is told
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from hpcflow.bsp import thread_mpi
from hpcflow.bsp.collective_ledger import LEFT, CollectiveLedger, Entry
from hpcflow.bsp.stack_alarm import StackAlarm, open_alarm
from hpcflow.bsp.thread_comm import ThreadComm
from hpcflow.bsp.threads.foreign import mpi4py_module

COLLECTIVE_TIMEOUT_S: Final = 300.0
"""A rank that has not come to a collective call for so long is named, with the stacks of all ranks."""

_HERE: Final = str(Path(__file__).parent)
_MOVES: Final = "Gather Gatherv Scatter Scatterv"
_REDUCTIONS: Final = "Allreduce Reduce_scatter_block Scan Exscan"
_PLAIN: Final = "Barrier Allgather Allgatherv Alltoall Alltoallv Alltoallw"
_NEIGHBOURS: Final = "Neighbor_allgather Neighbor_allgatherv Neighbor_alltoall Neighbor_alltoallv Neighbor_alltoallw"
_PARAMETERS: Final = {
    **dict.fromkeys(f"{_PLAIN} {_NEIGHBOURS}".split(), ()),
    **dict.fromkeys(("barrier", "allgather", "alltoall", "neighbor_allgather", "neighbor_alltoall"), ()),
    "Bcast": ("", "root"),
    **dict.fromkeys(_MOVES.split(), ("", "", "root")),
    **dict.fromkeys(_REDUCTIONS.split(), ("", "", "op")),
    "Reduce": ("", "", "op", "root"),
    "Reduce_scatter": ("", "", "", "op"),
    **dict.fromkeys(("bcast", "gather", "scatter"), ("", "root")),
    "reduce": ("", "op", "root"),
    **dict.fromkeys(("allreduce", "scan", "exscan"), ("", "op")),
}
"""Collective call -> where its root and its operator stand among the positional arguments."""
_MAKERS: Final = (
    "Dup",
    "Clone",
    "Split",
    "Split_type",
    "Create_cart",
    "Create_graph",
    "Create_dist_graph",
    "Create_dist_graph_adjacent",
    "Sub",
    "Create",
)
_DEFAULTS: Final = {"root": 0, "op": "SUM"}
_classes: dict[type, type] = {}  # class -> its checked subclass


def checked_if(wanted: bool, comm: Any, collective_timeout_s: float = COLLECTIVE_TIMEOUT_S) -> Any:
    """`comm`, or a CheckedComm around it. Collective when `wanted`."""
    return CheckedComm(comm, collective_timeout_s) if wanted else comm


def finish_checks(comm: Any) -> None:
    """The user's function has returned on this rank: `finish` where `comm` is checked. Collective then."""
    if isinstance(comm, CheckedComm):
        comm.finish()


class CheckedComm:
    """See the module. `CheckedComm(comm)` is collective over `comm`.

    Args:
        comm: an `mpi4py.MPI.Intracomm` or a ThreadComm, which the caller goes on owning.
        collective_timeout_s: seconds until a missing rank is named and the call raises; 0: never.
        same_sites: ranks of one role (all but the root) must make a call from the same line, which finds ranks in different rounds of a loop.
    """

    _ledger: CollectiveLedger | None
    _alarm: StackAlarm

    def __new__(cls, comm: Any, *arguments: Any, **keywords: Any) -> Any:
        kind = _checked_class(type(comm))
        if isinstance(comm, ThreadComm):
            checked: Any = object.__new__(kind)
            checked.__dict__.update(comm.__dict__)
            return checked
        return type(comm).__new__(kind, comm)

    def __init__(
        self, comm: Any, collective_timeout_s: float = COLLECTIVE_TIMEOUT_S, same_sites: bool = True, *, _parent: CheckedComm | None = None
    ) -> None:
        self._plain = comm
        self._mpi = thread_mpi if isinstance(comm, ThreadComm) else mpi4py_module()
        self._settings = (collective_timeout_s, same_sites)
        private = comm.Dup()
        self._is_outermost = _parent is None
        self._alarm = open_alarm(private, self._mpi) if _parent is None else _parent._alarm
        self._ledger = CollectiveLedger(private, self._mpi, collective_timeout_s, same_sites, self._alarm)

    def finish(self) -> None:
        """This rank has left the user's function; wait until all have. Collective.

        Raises:
            CollectiveMismatchError: another rank stands in a collective call, and waits for this one.
        """
        if self._ledger is None:
            return
        self._ledger.verify(self._ledger.enter(Entry(LEFT, None, None, "")), timeout_s=0)
        if self._is_outermost:
            self._alarm.stop()
        self._ledger.close()
        self._ledger = None

    def Free(self) -> None:  # noqa: N802  # mpi4py's name
        """As the class's own; collective."""
        self._verify(self._before("Free", (), {}))
        self._plain.Free()
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def check_call(self, name: str, root: int | None = None, detail: str | None = None) -> None:
        """A collective call that is none of the communicator's (an operator on tables) begins: compared as the communicator's own are.

        Raises:
            CollectiveMismatchError: another rank has entered another call.
        """
        self._verify(self.begin_call(name, root, detail))

    def begin_call(self, name: str, root: int | None = None, detail: str | None = None) -> int | None:
        """Announce such a call that does not block; its number, for `verify_call` and `verified_call`. None: nothing is checked any more."""
        return None if self._ledger is None else self._ledger.enter(Entry(name, root, detail, _users_site()))

    def verify_call(self, number: int) -> None:
        """Wait until all ranks' calls up to `number` are here and fit. Raises CollectiveMismatchError."""
        self._verify(number)

    def verified_call(self, number: int) -> bool:
        """Whether they are here and fit, without waiting. Raises CollectiveMismatchError."""
        return self._verified(number)

    def _before(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> int | None:
        """Announce the call; its number. None: nothing is checked any more."""
        if self._ledger is None:
            return None
        places = _PARAMETERS.get(name if name in _PARAMETERS else name[1:].capitalize(), ())
        values = {key: keywords.get(key, arguments[index] if index < len(arguments) else _DEFAULTS[key]) for index, key in enumerate(places) if key}
        op = None if "op" not in values else _name_of(values["op"], self._mpi)
        return self._ledger.enter(Entry(name, values.get("root"), op, _users_site()))

    def _verify(self, number: int | None) -> None:
        if number is not None and self._ledger is not None:
            self._ledger.verify(number)

    def _verified(self, number: int | None) -> bool:
        return number is None or self._ledger is None or self._ledger.verified(number)


def _blocking(name: str) -> Callable[..., Any]:
    def call(self: CheckedComm, *arguments: Any, **keywords: Any) -> Any:
        self._verify(self._before(name, arguments, keywords))
        return getattr(self._plain, name)(*arguments, **keywords)

    return call


def _nonblocking(name: str) -> Callable[..., Any]:
    def call(self: CheckedComm, *arguments: Any, **keywords: Any) -> Any:
        number = self._before(name, arguments, keywords)
        request = getattr(self._plain, name)(*arguments, **keywords)
        return _checked_request(request, self, number, arguments)

    return call


def _making(name: str) -> Callable[..., Any]:
    def call(self: CheckedComm, *arguments: Any, **keywords: Any) -> Any:
        self._verify(self._before(name, arguments, keywords))
        made = getattr(self._plain, name)(*arguments, **keywords)
        return CheckedComm(made, *self._settings, _parent=self) if made else made

    return call


def _checked_class(base: type) -> Any:
    """A subclass of `base` whose collective calls are checked."""
    if base in _classes:
        return _classes[base]
    calls: dict[str, Any] = {name: _blocking(name) for name in _PARAMETERS if hasattr(base, name)}
    calls |= {f"I{name.lower()}": _nonblocking(f"I{name.lower()}") for name in _PARAMETERS if name[0].isupper() and hasattr(base, f"I{name.lower()}")}
    calls |= {name: _making(name) for name in _MAKERS if hasattr(base, name)}
    return _classes.setdefault(base, type(f"Checked{base.__name__}", (CheckedComm, base), calls))


class _CheckedRequest:
    """A nonblocking collective call whose end waits for the comparison."""

    _comm: CheckedComm
    _number: int | None
    _kept: Any

    def Wait(self, status: Any = None) -> Any:  # noqa: N802  # mpi4py's name
        self._comm._verify(self._number)
        return super().Wait(status)  # type: ignore[misc]

    def wait(self, status: Any = None) -> Any:
        self._comm._verify(self._number)
        return super().wait(status)  # type: ignore[misc]

    def Test(self, status: Any = None) -> Any:  # noqa: N802
        return self._comm._verified(self._number) and super().Test(status)  # type: ignore[misc]

    def test(self, status: Any = None) -> Any:
        return super().test(status) if self._comm._verified(self._number) else (False, None)  # type: ignore[misc]


def _checked_request(request: Any, comm: CheckedComm, number: int | None, arguments: tuple[Any, ...]) -> Any:
    """The request itself, as an object of a subclass of its class: `Request.Waitall` takes it, without the comparison."""
    if isinstance(comm, ThreadComm):
        checked = _request_class(type(request))(request._group, request._completion, request._cancel)
    else:
        checked = _request_class(type(request))(request)
    checked._comm, checked._number, checked._kept = comm, number, arguments
    return checked


def _request_class(base: type) -> Any:
    return _classes.setdefault(base, type(f"Checked{base.__name__}", (_CheckedRequest, base), {}))


def _name_of(op: Any, mpi: Any) -> str:
    """SUM, or what names a user's operator alike on all ranks."""
    for name in ("SUM", "PROD", "MAX", "MIN", "LAND", "LOR", "BAND", "BOR", "LXOR", "BXOR", "MAXLOC", "MINLOC"):
        if op is name or op == name or (type(op) is type(mpi.SUM) and op == getattr(mpi, name)):
            return name
    return getattr(op, "__qualname__", None) or "a user's operator"


def _users_site() -> str:
    """The innermost frame that is not of this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
