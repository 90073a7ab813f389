"""How often a task is tried again and after which pause: what a user writes becomes numbers by kind of failure, checked when the task is added.

Invariant: every kind that is named is a FailureClass; a number of retries is for every failure but a stop to be continued, which is no failure.

    budgets({"node failure": 2})       # {'node failure': 2}
    pauses({"node failure": 60})       # {'node failure': 60.0}
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.executors.base import FailureClass

ANY_FAILURE = tuple(kind.value for kind in FailureClass if kind is not FailureClass.STOPPED)


def budgets(retries: int | Mapping[str, int]) -> dict[str, int]:
    """Failure class -> further attempts. Raises ConfigError."""
    _known(retries, "retries")
    by_kind = dict(retries) if isinstance(retries, Mapping) else {"": retries}
    for kind, count in by_kind.items():
        if type(count) is not int or count < 0:
            raise ConfigError(f"{_place('retries', kind)}={count!r}: expected a whole number from 0")
    if not isinstance(retries, Mapping):
        return dict.fromkeys(ANY_FAILURE, retries) if retries else {}
    return by_kind


def pauses(backoff_s: float | Mapping[str, float]) -> float | dict[str, float]:
    """Seconds before the first retry, by failure class where they were given so. Raises ConfigError."""
    _known(backoff_s, "backoff_s")
    by_kind = dict(backoff_s) if isinstance(backoff_s, Mapping) else {"": backoff_s}
    if FailureClass.STOPPED.value in by_kind:
        raise ConfigError(f"backoff_s: a task that was {FailureClass.STOPPED.value!r} is no failure and goes on at once: leave it out")
    for kind, seconds in by_kind.items():
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ConfigError(f"{_place('backoff_s', kind)}={seconds!r}: expected seconds from 0")
    return {kind: float(seconds) for kind, seconds in by_kind.items()} if isinstance(backoff_s, Mapping) else float(backoff_s)


def _known(given: object, argument: str) -> None:
    known = [kind.value for kind in FailureClass]
    for kind in given if isinstance(given, Mapping) else ():
        if kind not in known:
            raise ConfigError(f"{argument}: no failure class {kind!r}{near_names(str(kind), known)}; there are {', '.join(known)}")


def _place(argument: str, kind: str) -> str:
    return f"{argument}[{kind!r}]" if kind else argument
