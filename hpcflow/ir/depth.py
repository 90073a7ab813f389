"""Room for deep programs.

Functions here and pickle walk a program operator by operator, and a chain of some hundred needs more nested calls than Python allows by itself.

Invariant: programs of ordinary depth leave Python's limit as it is; it is never lowered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hpcflow.errors import HpcflowError

_CALLS_OF_OPERATOR: Final = 10
_CALLS_BELOW: Final = 600
"""Of the user's program that calls us, and of Polars' Python within one operator."""
_MOST_CALLS: Final = 20_000
"""What the stack of a thread (8 MB) bears when pickle nests in C: some 2,000 operators in a row."""


_FEW: Final = 100
"""Operators that fit below Python's own limit: where they do not, the caller's functions are too deep."""


def make_room(operators: int) -> None:
    """Let Python nest as deeply as a chain of so many operators needs, up to what a stack bears."""
    wanted = min(operators * _CALLS_OF_OPERATOR + _CALLS_BELOW, _MOST_CALLS)
    if wanted > sys.getrecursionlimit():
        sys.setrecursionlimit(wanted)


@contextmanager
def room_for(operators: int) -> Iterator[None]:
    """Room within the block; HpcflowError with what to do when it was not enough."""
    make_room(operators)
    try:
        yield
    except RecursionError as error:
        if operators < _FEW:
            raise
        raise HpcflowError(
            f"the program has {operators:,} operators, too many of them in a row; put what they do into fewer (one with_columns takes many "
            "expressions), or use cache() and count() in between, so that what follows begins with rows that are there"
        ) from error
