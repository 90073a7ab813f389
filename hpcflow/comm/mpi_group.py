"""Collective calls among some ranks of an MPI world, on a communicator of their own.

Invariant: one call at a time; counts are in units of 64 bytes, since byte counts above 2 GiB fail on Open MPI. Used by the thread that made it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpcflow.comm.base import Buffer

if TYPE_CHECKING:
    from mpi4py import MPI

_CALLS_A_TEST = 16
"""MPICH moves some KiB of a collective in one call of MPI_Test."""
_NOTHING = np.zeros(64, np.uint8)


class MpiGroup:
    """One rank of the group. Use `MpiComm.group`."""

    def __init__(self, communicator: MPI.Intracomm, unit: MPI.Datatype) -> None:
        self._comm = communicator
        self._unit = unit

    def alltoall(self, send: npt.NDArray[np.int64], receive: npt.NDArray[np.int64]) -> MpiCollective:
        return MpiCollective(self._comm.Ialltoall(send, receive), (send, receive), calls=1)

    def alltoallv(self, send: Buffer, send_units: Sequence[int], receive: Buffer, receive_units: Sequence[int]) -> MpiCollective:
        sent, received = self._described(send, send_units), self._described(receive, receive_units)
        return MpiCollective(self._comm.Ialltoallv(sent, received), (sent, received), _CALLS_A_TEST)

    def free(self) -> None:
        """Collective, at the end."""
        self._comm.Free()

    def _described(self, buffer: Buffer, units: Sequence[int]) -> list[Any]:
        total = sum(units)
        view = memoryview(buffer).cast("B") if total else _NOTHING
        return [view, list(units), list(itertools.accumulate([0, *units[:-1]])), self._unit]


class MpiCollective:
    """A collective call under way."""

    def __init__(self, request: MPI.Request, buffers: Any, calls: int) -> None:
        self._request = request
        self._buffers = buffers  # MPI uses them until the request is complete
        self._calls = calls

    def test(self) -> bool:
        if self._buffers is None:
            return True
        test = self._request.Test
        for _ in range(self._calls):
            if test():
                self._buffers = None
                return True
        return False
