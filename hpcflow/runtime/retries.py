"""Which failed tasks are tried again: those that an error of reading or writing has hit that may pass (a file server that does not answer, a stale
handle, a connection cut off). Bad input is bad the second time too, and fails the action at once.

Invariant: no row counts twice: an attempt that has handed rows over is not repeated, nor are functions that nobody has marked deterministic.

    >>> is_passing(OSError(errno.ESTALE, "Stale file handle")), is_passing(FileNotFoundError("no such file"))
    (True, False)
"""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from hpcflow.ir.operators.base import Operator
from hpcflow.ir.operators.sink import Sink
from hpcflow.plan.physical import PhysicalPlan, Stage

PASSING = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ENOLCK, errno.ENFILE, errno.EREMOTEIO, errno.ENOBUFS}
    | {errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ESHUTDOWN}
    | {errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
"""Numbers of errors that may not be there the next time."""
_NUMBER = re.compile(r"\(os error (\d+)\)")  # Polars keeps the number in the text only


def is_passing(error: BaseException) -> bool:
    """Whether `error`, or what caused it, is an error of the system that may pass."""
    return any(isinstance(one, TimeoutError | ConnectionError) or _number(one) in PASSING for one in _chain(error))


def may_repeat(plan: PhysicalPlan, stage: Stage) -> bool:
    """Whether running the operators of the stage again gives the same rows and does nothing twice."""
    return all(_repeats(plan.operator(vertex)) for vertex in stage.vertices())


def pause_s(attempt: int) -> float:
    """From the end of an attempt (0-based) to the next.

    >>> [pause_s(attempt) for attempt in range(4)]
    [0.1, 0.4, 1.6, 6.4]
    """
    return float(0.1 * 4**attempt)


def _repeats(operator: Operator) -> bool:
    return isinstance(operator, Sink) or (operator.deterministic and not any(_calls_python(e) for e in _expressions(operator)))


def _expressions(value: Any) -> Iterator[pl.Expr]:
    if isinstance(value, pl.Expr):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _expressions(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _expressions(getattr(value, field.name))


def _calls_python(expression: pl.Expr) -> bool:
    try:
        return b"AnonymousFunction" in expression.meta.serialize(format="binary")
    except Exception:  # it holds a function that cannot be written down
        return True


def _number(error: BaseException) -> int | None:
    if not isinstance(error, OSError):
        return None
    found = _NUMBER.search(str(error))
    return error.errno if error.errno is not None else int(found[1]) if found else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # `raise error from error` is its own cause
        yield error
        seen.add(id(error))
        error = error.__cause__
