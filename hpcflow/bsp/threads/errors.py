"""The twin of `mpi4py.MPI.Exception` and its error classes.

Invariant: what MPI would call an error of a call's arguments or data (a wrong rank, a message longer than the buffer) is an `MpiError` with
MPI's error class; what mpi4py itself refuses before it calls MPI (a buffer that is no buffer) is the same ValueError, TypeError, KeyError or
BufferError as there.

    >>> MpiError(ERR_RANK, "rank 9 in a communicator of 3").Get_error_class() == ERR_RANK
    True
"""

from __future__ import annotations

from typing import Final

from hpcflow.errors import HpcflowError

SUCCESS: Final = 0
ERR_BUFFER: Final = 1
ERR_COUNT: Final = 2
ERR_TYPE: Final = 3
ERR_TAG: Final = 4
ERR_COMM: Final = 5
ERR_RANK: Final = 6
ERR_ROOT: Final = 7
ERR_GROUP: Final = 8
ERR_OP: Final = 9
ERR_TOPOLOGY: Final = 10
ERR_DIMS: Final = 11
ERR_ARG: Final = 12
ERR_UNKNOWN: Final = 13
ERR_TRUNCATE: Final = 14
ERR_OTHER: Final = 15
ERR_INTERN: Final = 16
ERR_PENDING: Final = 18
ERR_REQUEST: Final = 19
ERR_WIN: Final = 45
ERR_LASTCODE: Final = 0x3FFFFFFF

_TEXTS: Final = {
    SUCCESS: "no error",
    ERR_BUFFER: "invalid buffer",
    ERR_COUNT: "invalid count",
    ERR_TYPE: "invalid datatype",
    ERR_TAG: "invalid tag",
    ERR_COMM: "invalid communicator",
    ERR_RANK: "invalid rank",
    ERR_ROOT: "invalid root",
    ERR_OP: "invalid reduction operation",
    ERR_TOPOLOGY: "invalid topology",
    ERR_DIMS: "invalid dimensions",
    ERR_ARG: "invalid argument",
    ERR_TRUNCATE: "message truncated",
    ERR_OTHER: "error",
    ERR_REQUEST: "invalid request",
    ERR_WIN: "invalid window",
}


class MpiError(HpcflowError, RuntimeError):
    """What `mpi4py.MPI.Exception` is there: an error of MPI itself, with its class."""

    def __init__(self, error_class: int = SUCCESS, detail: str = "") -> None:
        super().__init__(error_class, detail)
        self.error_class = error_class
        self.detail = detail

    def __str__(self) -> str:
        return self.Get_error_string() + (f": {self.detail}" if self.detail else "")

    def __int__(self) -> int:
        return self.error_class

    def Get_error_class(self) -> int:
        return self.error_class

    def Get_error_code(self) -> int:
        return self.error_class

    def Get_error_string(self) -> str:
        return _TEXTS.get(self.error_class, "unknown error")

    @property
    def error_code(self) -> int:
        return self.error_class

    @property
    def error_string(self) -> str:
        return self.Get_error_string()
