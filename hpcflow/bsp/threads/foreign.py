"""mpi4py's own constants, taken where a program uses them with a ThreadComm; mpi4py is looked up among the loaded modules, never imported.

Invariant: our special ranks and tags differ from those of every MPI library, so that a number means one thing: `MPI.ANY_SOURCE` is -2 with MPICH
and -1 with Open MPI, where -1 and -2 are something else.

    >>> source_of(ANY_SOURCE, 3) is None, source_of(2, 3)
    (True, 2)
"""

from __future__ import annotations

import operator
import sys
from typing import Any, Final

from hpcflow.bsp.threads.errors import ERR_RANK, ERR_TAG, MpiError

ANY_SOURCE: Final = -101
PROC_NULL: Final = -102
ROOT: Final = -103
ANY_TAG: Final = -104
UNDEFINED: Final = -32766  # the same in MPICH, Open MPI and the MPI ABI
TAG_UB: Final = (1 << 31) - 1
COMM_TYPE_SHARED: Final = 1


class InPlaceType:
    """The type of `IN_PLACE`."""

    def __repr__(self) -> str:
        return "IN_PLACE"

    def __reduce__(self) -> str:
        return "IN_PLACE"


IN_PLACE: Final = InPlaceType()


def mpi4py_module() -> Any:
    """`mpi4py.MPI` when the program has imported it, else None."""
    return sys.modules.get("mpi4py.MPI")


def is_foreign(value: object) -> bool:
    """Whether `value` is an object of mpi4py."""
    return type(value).__module__.startswith("mpi4py")


def is_in_place(buffer: object) -> bool:
    """None counts, as in mpi4py."""
    return buffer is None or buffer is IN_PLACE or (is_foreign(buffer) and type(buffer).__name__ == "InPlaceType")


def is_constant(value: int, ours: int, name: str) -> bool:
    """Whether `value` is our constant or mpi4py's of that name."""
    if value == ours:
        return True
    module = mpi4py_module()
    return value < 0 and module is not None and value == getattr(module, name)


def rank_of(value: Any, size: int, error_class: int = ERR_RANK) -> int | None:
    """A rank of the communicator; None for PROC_NULL."""
    rank = operator.index(value)
    if 0 <= rank < size:
        return rank
    if is_constant(rank, PROC_NULL, "PROC_NULL"):
        return None
    raise MpiError(error_class, f"{rank} in a communicator of {size} ranks: give 0 to {size - 1}")


def source_of(value: Any, size: int) -> int | None:
    """The source of a receive that is not from PROC_NULL: None for ANY_SOURCE."""
    rank = operator.index(value)
    if 0 <= rank < size:
        return rank
    if is_constant(rank, ANY_SOURCE, "ANY_SOURCE"):
        return None
    raise MpiError(ERR_RANK, f"source {rank} in a communicator of {size} ranks: give 0 to {size - 1}, ANY_SOURCE or PROC_NULL")


def is_proc_null(value: Any, size: int) -> bool:
    rank = operator.index(value)
    return not 0 <= rank < size and is_constant(rank, PROC_NULL, "PROC_NULL")


def tag_of(value: Any) -> int:
    tag = operator.index(value)
    if 0 <= tag <= TAG_UB:
        return tag
    raise MpiError(ERR_TAG, f"{tag}: give 0 to {TAG_UB}")


def wanted_tag(value: Any) -> int | None:
    """The tag of a receive: None for ANY_TAG."""
    tag = operator.index(value)
    return None if is_constant(tag, ANY_TAG, "ANY_TAG") else tag_of(tag)
