"""Where a value came from: which line of code or of a file, which variable, which flag.

Invariant: every change of a Config is recorded with one Origin, also those made by files and command lines, which name themselves by `within`.

    with within(Origin("flag", "lr=1e-3")):
        config.lr = 1e-3
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

Kind = Literal["code", "file", "variable", "flag", "default", "factory"]
_OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@dataclasses.dataclass(frozen=True)
class Origin:
    """What set a value."""

    kind: Kind
    where: str  # a file, a variable's name, the text of a flag
    line: int | None = None  # of a file or of code, from 1

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}" if self.line is not None else self.where
        return place if self.kind in ("code", "file") else f"{self.kind} {place}"


@dataclasses.dataclass(frozen=True)
class Change:
    """One assignment, deletion or default."""

    path: str  # dotted, from the Config that was asked
    old: Any  # UNSET when there was none
    new: Any  # UNSET when it was deleted
    origin: Origin


_current: contextvars.ContextVar[Origin | None] = contextvars.ContextVar("hpcflow_launch_origin", default=None)


@contextlib.contextmanager
def within(origin: Origin | None) -> Iterator[None]:
    """Assignments in this block come from `origin` (None: from the code that is running)."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)


def here() -> Origin:
    """The origin named by `within`, else the nearest line of code outside of hpcflow.launch."""
    named = _current.get()
    if named is not None:
        return named
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN_FOLDER):
        frame = frame.f_back
    return Origin("code", frame.f_code.co_filename, frame.f_lineno)
