"""iterate: a loop whose state stays on the workers and whose body is compiled once.

Invariant: `body` is called once, on datasets without rows that stand for the state; nothing runs until a dataset that the loop gives is used, and
then the loop runs once, whatever the number of its readers.

    ranks = hf.iterate(lambda r: one_round(r, edges), start, until=lambda new, old: change(new, old) < 1e-6, max_iterations=50)
    ranks.sort("rank", descending=True).head(10).collect()
"""

from __future__ import annotations

import inspect
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from hpcflow.api.building import Input, behind
from hpcflow.api.dataset import Dataset
from hpcflow.arguments import AtLeastOne, checked_function, shown
from hpcflow.errors import ArgumentTypeError, ConfigError, SchemaError
from hpcflow.ir.dag import Vertex
from hpcflow.ir.operators.base import brief
from hpcflow.ir.operators.concat import ReadCache
from hpcflow.ir.operators.iterate import Iterate
from hpcflow.ir.properties import EdgeProperties

if TYPE_CHECKING:
    from hpcflow.session import Session

METRICS = "metrics"
_LOOP = "loop "
"""Keys of what belongs to a loop begin so."""
_WHOLE = "state"
"""Name of the only part of a state that is one dataset."""


@dataclass(eq=False)
class Loop:
    """A loop, traced. `runs` is the session's."""

    session: Session
    key: str
    initial: dict[str, Dataset]
    """Part of the state -> the dataset it starts with."""
    bodies: dict[str, Dataset]
    """Part of the state -> what the body makes of it."""
    metrics: Dataset | None
    verdict: Dataset | None
    """One row, one Boolean column."""
    until_metrics: pl.Expr | None
    """The verdict as an expression over the metrics, which are on the driver anyway. Neither: all iterations are run."""
    max_iterations: int
    on_limit: Literal["error", "return"]
    checkpoint: Path | None
    checkpoint_every: int
    resume: bool
    condition: str
    rebuild: Callable[[Mapping[str, Dataset]], Any] = field(repr=False)
    """Parts -> the state as the user gave it."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    """Held while the loop runs, so that it runs once."""
    held: dict[str, str] = field(default_factory=dict, repr=False)
    """Part -> key under which the workers hold it once the loop has run."""
    placeholders: dict[str, str] = field(default_factory=dict, repr=False)
    """Part -> where its body reads it, where that is not under this loop's key."""

    def unconverged(self, held: dict[str, str]) -> Loop:
        """The same loop with what it came to without having converged, for who asks for that."""
        other = replace(self, held=held, lock=threading.RLock())
        _free_with(other)
        return other

    def state_key(self, part: str) -> str:
        """Where the body reads a part of the state."""
        return self.placeholders.get(part, f"{self.key}/in/{part}")

    def result_key(self, part: str) -> str:
        """Where the workers keep a part after the loop; a key that is not there before."""
        return self.held.get(part, f"{self.key}/{part}")

    @property
    def parts(self) -> dict[str, Dataset]:
        """All that an iteration leaves: the state, and the metrics."""
        return self.bodies | ({METRICS: self.metrics} if self.metrics is not None else {})

    def results(self) -> Any:
        """Datasets of what the loop leaves, in the form that the body gives."""
        inputs = tuple(Input(dataset, EdgeProperties()) for dataset in self.initial.values())
        parts = {}
        for part, body in self.parts.items():
            operator = Iterate(self, part, body.schema, len(inputs))
            parts[part] = Dataset(self.session, Vertex(operator, body.schema), inputs)
        state = self.rebuild({part: parts[part] for part in self.bodies})
        return state if self.metrics is None else (state, parts[METRICS])

    def describe(self) -> str:
        """One line for explain and errors."""
        return f"at most {self.max_iterations} times until {self.condition}" if self.has_end else f"{self.max_iterations} times"

    @property
    def has_end(self) -> bool:
        """Whether there is a condition to end it before its limit."""
        return self.verdict is not None or self.until_metrics is not None


@checked_function
def iterate(
    body: Callable[[Any], Any],
    state: Any,
    *,
    until: Any = None,
    max_iterations: AtLeastOne = 100,
    on_limit: Literal["error", "return"] = "error",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: AtLeastOne = 10,
    resume: bool = False,
) -> Any:
    """Apply `body` to `state` again and again; the state stays on the workers.

    Args:
        body: `body(state) -> state` or `-> (state, metrics)`; called once, with datasets that stand for the state. It may be any dataflow, with
            `bsp` steps in it. Datasets that it uses beside the state are computed once and kept as it needs them (a side of a join in its
            partitions). It may use loops of its own: those that depend on the state run in every iteration.
            metrics: a dataset of one row, of what an iteration has to report.
        state: a Dataset, or a dict or tuple of them; `body` gives back the same, of the same schemas.
        until: when to stop: an expression over the metrics (over the new state when the body gives none), or a function `until(new)` or
            `until(new, old)` of states that gives a dataset. Either gives one row of one Boolean column; null counts as false. It is
            computed on the workers. None: all `max_iterations` are run.
        max_iterations: limit of iterations; at least 1.
        on_limit: when `until` is not true by then: "error" raises NotConvergedError, "return" goes on with the state as it is.
        checkpoint: directory into which the state is written every `checkpoint_every` iterations, the last one in Parquet files, all or none.
        resume: go on from the checkpoint when there is one; without it a directory that holds one is refused.

    Returns:
        The last state, in the form of `state`; `(state, metrics)` when the body gives metrics. The datasets are lazy: the loop runs when one of them
        is first used, and its result stays on the workers as long as one of them lives.

    Raises:
        ConfigError: for an option that cannot be.
        SchemaError: when the body gives other parts or schemas than it takes, or `until` not one Boolean column.
    """
    if resume and checkpoint is None:
        raise ConfigError("iterate: resume=True needs checkpoint=, the directory to go on from")
    initial, rebuild = _parts(state, "state")
    session = next(iter(initial.values()))._session
    key = f"{_LOOP}{uuid.uuid4().hex}"
    old = {part: Dataset(session, Vertex(ReadCache(f"{key}/in/{part}"), dataset.schema)) for part, dataset in initial.items()}
    given = body(rebuild(old))
    new, metrics = _given(given, state)
    bodies = _checked(_parts(new, "what the body returns")[0], initial)
    over_metrics = metrics is not None and isinstance(until, pl.Expr)
    if over_metrics:
        _check_verdict(metrics.select(until))  # type: ignore[union-attr]
    loop = Loop(
        session=session,
        key=key,
        initial=initial,
        bodies=bodies,
        metrics=metrics,
        verdict=None if over_metrics else _verdict(until, rebuild(bodies), rebuild(old), isinstance(state, Dataset)),
        until_metrics=until if over_metrics else None,
        max_iterations=max_iterations,
        on_limit=on_limit,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        checkpoint_every=checkpoint_every,
        resume=resume,
        condition=brief(until, 80),
        rebuild=rebuild,
    )
    _free_with(loop)
    return loop.results()


def refuse_stand_ins(sinks: Sequence[Dataset], action: str) -> None:
    """ConfigError when an action wants rows of the datasets that stand for a loop's state while its body is traced: there are none."""
    for dataset in behind(sinks):
        operator = dataset._vertex.operator
        if isinstance(operator, ReadCache) and operator.key.startswith(_LOOP) and "/in/" in operator.key:
            raise ConfigError(
                f"iterate: {action} was called on a dataset that stands for the state in the loop's body (or until), which is called once, to see "
                "what an iteration does, and has no rows. Give what is to be known as metrics, or do it with the datasets that iterate returns"
            )


def _parts(state: Any, what: str) -> tuple[dict[str, Dataset], Callable[[Mapping[str, Dataset]], Any]]:
    """The datasets of a state by name, and how to put a state together from such."""
    if isinstance(state, Dataset):
        return {_WHOLE: state}, lambda parts: parts[_WHOLE]
    if isinstance(state, Mapping):
        named = {str(name): dataset for name, dataset in state.items()}
        rebuild: Callable[[Mapping[str, Dataset]], Any] = lambda parts: {name: parts[str(name)] for name in state}  # noqa: E731
    elif isinstance(state, tuple | list):
        named = {f"part {index}": dataset for index, dataset in enumerate(state)}
        rebuild = lambda parts: tuple(parts[f"part {index}"] for index in range(len(state)))  # noqa: E731
    else:
        named, rebuild = {}, lambda parts: parts
    if not named or not all(isinstance(dataset, Dataset) for dataset in named.values()):
        raise ConfigError(f"iterate: {what} is {type(state).__name__}; give a Dataset, or a dict or tuple of Datasets")
    return named, rebuild


def _given(given: Any, state: Any) -> tuple[Any, Dataset | None]:
    """(state, metrics) of what the body returned."""
    is_pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Dataset)
    if not is_pair or (isinstance(state, tuple) and len(state) == 2 and isinstance(given[0], Dataset)):
        return given, None
    return given[0], given[1]


def _checked(new: dict[str, Dataset], old: dict[str, Dataset]) -> dict[str, Dataset]:
    if new.keys() != old.keys():
        raise SchemaError(f"iterate: the state has the parts {', '.join(old)}, and the body returns {', '.join(new)}")
    found = {}
    for part, dataset in new.items():
        wanted = old[part].schema
        if dict(dataset.schema) != dict(wanted):
            names = [name for name in {**wanted, **dataset.schema} if dataset.schema.get(name) != wanted.get(name)]
            differs = "; ".join(f"{name}: {dataset.schema.get(name)} and not {wanted.get(name)}" for name in names)
            raise SchemaError(f"iterate: the body changes the columns of the {part}: {differs}. Select and cast them, in the body or before the loop")
        found[part] = dataset if dataset.columns == wanted.names() else dataset.select(wanted.names())
    return found


def _verdict(until: Any, new: Any, old: Any, single: bool) -> Dataset | None:
    if until is None:
        return None
    if isinstance(until, pl.Expr):
        if not single:
            raise ConfigError("iterate: an expression for until needs metrics, or a state that is one dataset; give a function until(new, old)")
        verdict = new.select(until)
    elif callable(until):
        verdict = until(new, old) if _parameters(until) > 1 else until(new)
    else:
        raise ConfigError(f"iterate: until is {type(until).__name__}; give an expression, or a function of the new (and old) state")
    return _check_verdict(verdict)


def _parameters(until: Callable[..., Any]) -> int:
    try:
        return len(inspect.signature(until).parameters)
    except ValueError:
        raise ArgumentTypeError(f"iterate: until is {shown(until)}; expected a function until(new) or until(new, old) of states") from None


def _check_verdict(verdict: Any) -> Dataset:
    if not isinstance(verdict, Dataset) or verdict.dtypes != [pl.Boolean]:
        found = verdict if isinstance(verdict, Dataset) else type(verdict).__name__
        raise SchemaError(f"iterate: until must give a dataset of one Boolean column, and gives {found}")
    return verdict


def _free_with(loop: Loop) -> None:
    """Let the workers drop the loop's result with the last dataset that refers to it."""
    weakref.finalize(loop, _free, weakref.ref(loop.session), loop.held)


def _free(session: weakref.ref[Session], held: dict[str, str]) -> None:
    alive = session()
    if alive is not None and alive.is_open:
        for key in held.values():
            alive._unpersist(key)
