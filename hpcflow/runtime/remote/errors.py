"""An error on its way to the driver: with its notes and its cause, or as text where it cannot travel.

Invariant: `unpack` always gives an exception; one of ours is again of its class.
"""

from __future__ import annotations

import cloudpickle

from hpcflow.errors import HpcflowError
from hpcflow.runtime.failures import pack_error, unpack_error


def pack(error: BaseException) -> bytes:
    """The error, its cause and its notes, each as far as it can travel."""
    cause = error.__cause__
    notes = tuple(str(note) for note in getattr(error, "__notes__", ()))
    packed: bytes = cloudpickle.dumps((pack_error(error), None if cause is None else pack_error(cause), notes), protocol=5)
    return packed


def unpack(packed: bytes, text: str) -> BaseException:
    """What was packed; `text` is what an error says that could not travel."""
    blob, cause, notes = cloudpickle.loads(packed)
    error = unpack_error(blob) or HpcflowError(text)
    error.__cause__ = unpack_error(cause)
    for note in notes:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    return error
