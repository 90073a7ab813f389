"""How objects of lower-case calls travel: the twin of `mpi4py.MPI.pickle`, one for the process.

Invariant: what a rank receives shares no memory with what was sent, exactly as between processes; what cannot be pickled cannot be sent.

    >>> pickle.loads(pickle.dumps({"a": 1}))
    {'a': 1}
"""

from __future__ import annotations

import pickle as _pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from hpcflow.bsp.threads.datatypes import Bytes


class Pickle:
    """`dumps` and `loads` may be replaced (`MPI.pickle.__init__(cloudpickle.dumps, cloudpickle.loads)`), for all ThreadComms at once."""

    def __init__(
        self,
        dumps: Callable[..., bytes] = _pickle.dumps,
        loads: Callable[[Any], Any] = _pickle.loads,
        protocol: int | None = None,
        threshold: int | None = None,
    ) -> None:
        self._dumps = dumps
        self._loads = loads
        self.PROTOCOL = _pickle.HIGHEST_PROTOCOL if protocol is None and dumps is _pickle.dumps else protocol
        self.THRESHOLD = 1 << 18 if threshold is None else threshold  # kept for mpi4py's signature: in one process nothing goes out of band

    def dumps(self, obj: Any) -> bytes:
        return self._dumps(obj) if self.PROTOCOL is None else self._dumps(obj, self.PROTOCOL)

    def loads(self, data: Any) -> Any:
        return self._loads(data)


pickle = Pickle()


def packed(obj: Any) -> Bytes:
    """The pickle as bytes of a message."""
    return np.frombuffer(pickle.dumps(obj), np.uint8)


def unpacked(data: Bytes) -> Any:
    """The object of a received message; None when it is empty."""
    return pickle.loads(data.data) if len(data) else None
