"""Collective calls that are more than one call of MPI (those on tables, grids' exchanges), announced in debug mode under their own names.

Invariant: where `comm` is not checked this does nothing and costs nothing. A call that blocks is compared on all ranks before it begins; one that
does not is announced at the call and compared when its request is waited for or tested.

    announce(group.comm, "ctx.gather", root)
    call = AnnouncedCall(group.comm, "ctx.igather", root);   ...;   call.agreed(timeout_s=None)
"""

from __future__ import annotations

import time
from typing import Any, Final

from hpcflow.bsp.checked_comm import CheckedComm

_LOOK_S: Final = 1e-3


def announce(comm: Any, call: str, root: int | None = None, detail: str | None = None) -> None:
    """Compare this call with that of the other ranks where `comm` is checked. Collective then.

    Raises:
        CollectiveMismatchError: another rank has entered another call, or the same with another root or detail.
    """
    if isinstance(comm, CheckedComm):
        comm.check_call(call, root, detail)


class AnnouncedCall:
    """A call that does not block, begun on this rank. Arguments as of `announce`."""

    def __init__(self, comm: Any, call: str, root: int | None = None, detail: str | None = None) -> None:
        self._comm = comm if isinstance(comm, CheckedComm) else None
        self._number = None if self._comm is None else self._comm.begin_call(call, root, detail)

    def agreed(self, timeout_s: float | None = None) -> bool:
        """Wait until the calls of all ranks are here and fit; False when they are not after `timeout_s` seconds.

        Raises:
            CollectiveMismatchError: they do not fit.
        """
        if self._comm is None or self._number is None:
            return True
        if timeout_s is None:
            self._comm.verify_call(self._number)
            return True
        deadline = time.monotonic() + timeout_s
        while not self._comm.verified_call(self._number):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_S)
        return True
