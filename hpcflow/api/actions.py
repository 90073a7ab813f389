"""Actions: what makes a program run. Each is sinks to reach and what to make of the result, so that it can be waited for or submitted alike.

Invariant: making an action checks the program and runs nothing; `ACTIONS` names all that `Dataset.submit` takes, each with the arguments of the
method of that name.

    make_action([dataset], "write_parquet", ("out",), {})
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpcflow.api.extras import require_extra
from hpcflow.api.polars_options import check_collect
from hpcflow.arguments import check_arguments
from hpcflow.errors import ConfigError, near_names
from hpcflow.ir.operators.concat import Collect, Keep
from hpcflow.ir.operators.foreach_partition import ForeachPartition
from hpcflow.ir.operators.map_batches import Format
from hpcflow.ir.operators.sink import Sink
from hpcflow.ir.operators.write_csv import WriteCsv
from hpcflow.ir.operators.write_ipc import WriteIpc
from hpcflow.ir.operators.write_parquet import WriteParquet
from hpcflow.ir.properties import EdgeProperties, Pattern

if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset
    from hpcflow.runtime.action_result import ActionResult

GATHER = EdgeProperties(pattern=Pattern.GATHER)


@dataclass(frozen=True)
class Action:
    """One action of a program.

    name: of the method; sinks: what is to be reached, empty when there is nothing to do; finish: from the runtime's result to the method's
    """

    name: str
    sinks: tuple[Dataset, ...]
    finish: Callable[[ActionResult], Any]


def collect_action(datasets: Sequence[Dataset], name: str = "collect") -> Action:
    """All rows of each dataset, as a list of DataFrames."""
    sinks = tuple(dataset._then(Collect(), GATHER) for dataset in datasets)
    return Action(name, sinks, lambda result: [result.tables[sink._vertex.id] for sink in sinks])


def make_action(datasets: Sequence[Dataset], name: str, args: tuple[Any, ...] = (), options: dict[str, Any] | None = None) -> Action:
    """The action `name` of one dataset, or "collect" of several. ConfigError for a name that is none."""
    if name not in ACTIONS:
        raise ConfigError(f"no such action: {name!r}{near_names(name, ACTIONS)} There are {', '.join(ACTIONS)}")
    if len(datasets) != 1:
        if name != "collect" or args or options:
            raise ConfigError(f"{name} is an action of one dataset; several can be collected together")
        return collect_action(datasets)
    dataset, given = datasets[0], options or {}
    check_arguments(name, inspect.unwrap(getattr(type(dataset), name)), (dataset, *args), given)
    return ACTIONS[name](dataset, *args, **given)


def _collected(name: str, convert: Callable[[Any], Any], extra: str | None = None) -> Callable[..., Action]:
    def action(dataset: Dataset, **options: Any) -> Action:
        check_collect(options)
        if extra is not None:
            require_extra(extra, name)
        collected = collect_action([dataset], name)
        return Action(name, collected.sinks, lambda result: convert(collected.finish(result)[0]))

    return action


def _count(dataset: Dataset) -> Action:
    sink = dataset._then(Keep())
    return Action("count", (sink,), lambda result: result.rows[sink._vertex.id])


def _written(name: str, sink_class: Any) -> Callable[..., Action]:
    def action(dataset: Dataset, path: Any, *, mode: str = "error", **options: Any) -> Action:
        check_arguments(name, sink_class.to, (path, dataset.schema), {"mode": mode, **options})
        sink: Sink = sink_class.to(path, dataset.schema, mode=mode, **options)
        skipped = sink.is_skipped  # mode "ignore", and something is there
        return Action(name, () if skipped else (dataset._then(sink),), lambda result: None)

    return action


def _foreach_partition(dataset: Dataset, function: Callable[[Any], Any], *, format: Format = "polars") -> Action:
    if format == "pandas":
        require_extra("pandas", 'foreach_partition with format="pandas"')
    return Action("foreach_partition", (dataset._then(ForeachPartition(function, dataset.schema, format)),), lambda result: None)


ACTIONS: dict[str, Callable[..., Action]] = {
    "collect": _collected("collect", lambda df: df),
    "to_arrow": _collected("to_arrow", lambda df: df.to_arrow()),
    "to_pandas": _collected("to_pandas", lambda df: df.to_pandas(), "pandas"),
    "to_numpy": _collected("to_numpy", lambda df: df.to_numpy()),
    "count": _count,
    "write_parquet": _written("write_parquet", WriteParquet),
    "write_csv": _written("write_csv", WriteCsv),
    "write_ipc": _written("write_ipc", WriteIpc),
    "foreach_partition": _foreach_partition,
}
