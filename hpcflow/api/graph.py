"""Graph: a task graph drawn by hand, for those who want to say which task does what.

    g = hf.Graph(session)
    words = g.source("words", read_part, schema={"word": pl.String}, parallelism=4)        # read_part(task) -> table or generator of tables
    counts = g.compute("counts", count, words.keyed_partition("word"), parallelism=3)      # count(table) -> table, in each of 3 tasks
    g.sink("result", counts.gather())
    g.run()["result"]

Each call lowers to vertices and edges of the IR at once: a vertex of a graph is a Dataset whose tasks are fixed. Invariant: a vertex of parallelism P
has tasks 0..P-1, and task i gets the same rows in the same order on any number of workers (but for the order of groups after a keyed edge).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from hpcflow.api import building
from hpcflow.api.actions import GATHER, Action
from hpcflow.api.building import Input
from hpcflow.api.dataset import Dataset
from hpcflow.api.extras import require_extra
from hpcflow.api.graph_edges import IN_PLACE, TO_ALL, TO_ONE, Column, GraphEdge, lower
from hpcflow.api.graph_vertex import GraphVertex
from hpcflow.api.schemas import schema_of
from hpcflow.arguments import checked
from hpcflow.errors import ConfigError, SchemaError
from hpcflow.ir.dag import Vertex
from hpcflow.ir.operators.concat import Collect, Keep
from hpcflow.ir.operators.generate import Generate
from hpcflow.ir.operators.map_batches import Format, from_format, to_format
from hpcflow.ir.operators.positions import WithShare
from hpcflow.ir.operators.task_function import GraphTask, TaskFunction
from hpcflow.ir.properties import EdgeProperties, Pattern

if TYPE_CHECKING:
    from hpcflow.runtime.action_result import ActionResult
    from hpcflow.runtime.futures import Future
    from hpcflow.session import Session


@dataclass(frozen=True)
class _GraphSink:
    rows: Dataset
    """The end to run."""
    edges: tuple[GraphEdge, ...]
    collects: bool


@checked
class Graph:
    """A task graph of a session.

    Args:
        session: runs it.
        parallelism: tasks of a vertex that does not say; default the session's workers.
    """

    def __init__(self, session: Session, parallelism: int | None = None) -> None:
        self.session = session
        self.parallelism = session.workers if parallelism is None else _count(parallelism, "the graph")
        self.vertices: dict[str, GraphVertex] = {}
        self._sinks: dict[str, _GraphSink] = {}
        self._used: set[str] = set()

    # -- drawing ------------------------------------------------------------------------------------------------------------------------------------

    def source(self, name: str, rows: Any, *, schema: Any = None, parallelism: int | None = None, **properties: Any) -> GraphVertex:
        """A vertex without inputs.

        Args:
            rows: `function(task) -> table` or generator of tables, called on the worker of each task with a `GraphTask` (index, parallelism); or a
                Dataset; or a table of the driver.
            schema: columns and types of what a function gives.
            parallelism: tasks. A Dataset's (or table's) rows are dealt out to them in equal, contiguous shares; without it they stay in the tasks
                that the engine makes for them, whose number depends on the workers.
            properties: execution properties of the vertex: slots, memory_bytes, placement, resources.
        """
        self._check_name(name)
        if isinstance(rows, Dataset) or not callable(rows):
            dataset = rows if isinstance(rows, Dataset) else self.session.from_polars(rows) if _is_polars(rows) else self.session.from_arrow(rows)
            if schema is not None:
                raise ConfigError(f"source {name!r}: a schema is for what a function gives; a dataset has its own")
            return self._add(name, parallelism, self._shared_out(name, dataset, parallelism, properties))
        if schema is None:
            raise ConfigError(f"source {name!r}: say what columns its function gives: schema={{'column': pl.Int64, ...}}")
        count = self.parallelism if parallelism is None else _count(parallelism, f"source {name!r}")
        operator = Generate.of(name, rows, schema_of(schema, f"source {name!r}"), count)
        return self._add(name, count, Dataset(self.session, _vertex(self.session, operator, operator.schema, properties)))

    def compute(
        self,
        name: str,
        function: Callable[..., Any],
        *edges: GraphEdge,
        schema: Any = None,
        parallelism: int | None = None,
        format: Format = "polars",
        with_task: bool = False,
        **properties: Any,
    ) -> GraphVertex:
        """A vertex that calls `function(*tables)` in each of its tasks, with the task's rows of each edge; not where all of them are empty.

        Args:
            function: takes one table for each edge, and gives a table (in any format), a generator of tables, or None for no rows.
            edges: from vertices of this graph: `source.direct()`, `source.keyed_partition("k")`, ...
            schema: columns and types of the result; without it the function is called once here, with empty tables.
            parallelism: tasks; default: those of the vertex that a direct edge comes from, 1 after gather and reduce, else the graph's.
            format: "polars", "arrow", "pandas" or "numpy".
            with_task: the function's first argument is the task's `GraphTask`.
            properties: execution properties of the vertex: slots, memory_bytes, placement, resources.
        """
        self._check_name(name)
        if format == "pandas":
            require_extra("pandas", f'vertex {name!r} with format="pandas"')
        count = self._parallelism_of(name, edges, parallelism)
        result = schema_of(schema, f"vertex {name!r}") if schema is not None else _infer(name, function, edges, format, with_task, count)
        rows = self._joined(TaskFunction(name, function, result, count, format, with_task=with_task), edges, properties)
        return self._add(name, count, rows, edges)

    def sink(
        self,
        name: str,
        *edges: GraphEdge,
        function: Callable[..., Any] | None = None,
        parallelism: int | None = None,
        format: Format = "polars",
        with_task: bool = False,
        **properties: Any,
    ) -> None:
        """An end of the graph: its rows come back from `run()` under this name, or `function(*tables)` is called in each task for what it does."""
        self._check_name(name)
        count = self._parallelism_of(name, edges, parallelism)
        if function is None:
            if len(edges) != 1:
                raise ConfigError(f"sink {name!r}: rows of {len(edges)} edges cannot come back as one table; give one edge, or function=...")
            end = self._joined(TaskFunction(name, None, edges[0].source.rows.schema, count), edges, properties)._then(Collect(), GATHER)
        else:
            effect = TaskFunction(name, _Effect(function), pl.Schema(), count, format, with_task=with_task)
            end = self._joined(effect, edges, properties)._then(Keep())
        self._sinks[name] = _GraphSink(end, edges, function is None)
        self._used.update(edge.source.name for edge in edges)

    # -- running ------------------------------------------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, pl.DataFrame]:
        """Run all sinks in one action; the rows of those without a function, by name."""
        tables: dict[str, pl.DataFrame] = self.session._act(self._action())
        return tables

    def submit(self) -> Future[dict[str, pl.DataFrame]]:
        """Begin to run all sinks and go on; the future's result is what `run` returns."""
        return self.session._threads.submit("graph", partial(self.session._act, self._action()))

    def explain(self, passes: bool = False, analyze: bool = False, format: str = "text") -> str:
        """The graph, then what becomes of it: see `Dataset.explain`."""
        plan = self.session._explain([sink.rows for sink in self._checked_sinks().values()], passes, analyze, format)
        return plan if format != "text" else f"graph\n{self}\n{plan}"

    def __str__(self) -> str:
        lines = []
        for vertex in self.vertices.values():
            tasks = "" if vertex.parallelism is None else f" x{vertex.parallelism}"
            lines.append(f"  {vertex.name}{tasks}" + "".join(f"\n    {edge}" for edge in vertex.edges))
        lines += [f"  {name} (sink)" + "".join(f"\n    {edge}" for edge in sink.edges) for name, sink in self._sinks.items()]
        return "\n".join(lines)

    def _action(self) -> Action:
        sinks = self._checked_sinks()

        def tables(result: ActionResult) -> dict[str, pl.DataFrame]:
            return {name: result.tables[sink.rows._vertex.id] for name, sink in sinks.items() if sink.collects}

        return Action("graph", tuple(sink.rows for sink in sinks.values()), tables)

    def _checked_sinks(self) -> dict[str, _GraphSink]:
        if not self._sinks:
            raise ConfigError("the graph has no sink: end it with graph.sink(name, vertex.gather()), or use vertex.dataset()")
        if loose := [name for name in self.vertices if name not in self._used]:
            raise ConfigError(f"nothing reads {', '.join(map(repr, loose))}: draw an edge from there, or leave the vertex out")
        return dict(self._sinks)

    # -- lowering -----------------------------------------------------------------------------------------------------------------------------------

    def _add(self, name: str, parallelism: int | None, rows: Dataset, edges: tuple[GraphEdge, ...] = ()) -> GraphVertex:
        self._used.update(edge.source.name for edge in edges)
        vertex = self.vertices[name] = GraphVertex(self, name, parallelism, rows, edges)
        return vertex

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"a vertex needs a name, got {name!r}")
        if name in self.vertices or name in self._sinks:
            raise ConfigError(f"the graph has a vertex {name!r} already; names are unique")

    def _parallelism_of(self, name: str, edges: tuple[GraphEdge, ...], given: int | None) -> int | None:
        """Tasks of a vertex with these inputs; ConfigError where an edge cannot go into so many."""
        if not edges:
            raise ConfigError(f"vertex {name!r} has no input; a vertex without inputs is a source: graph.source(name, function, schema=...)")
        for edge in edges:
            if not isinstance(edge, GraphEdge):
                raise ConfigError(f"vertex {name!r}: its inputs are edges, such as vertex.direct() or vertex.gather(), not {type(edge).__name__}")
            if edge.source.graph is not self:
                raise ConfigError(f"vertex {name!r}: {edge.source.name!r} is of another graph; go through graph.source(name, vertex.dataset())")
        deciding = [edge for edge in edges if edge.kind not in TO_ALL]
        in_place = [edge for edge in deciding if edge.kind in IN_PLACE]
        if given is not None:
            count: int | None = _count(given, f"vertex {name!r}")
        elif in_place:
            count = in_place[0].source.parallelism
        else:
            count = 1 if any(edge.kind in TO_ONE for edge in deciding) else self.parallelism
        for edge in in_place:
            if edge.source.parallelism != count or (count is None and len(deciding) > 1):
                there = "the tasks of its dataset" if edge.source.parallelism is None else f"{edge.source.parallelism} tasks"
                raise ConfigError(
                    f"vertex {name!r}: a {edge.kind} edge needs as many tasks on both sides, and {edge.source.name!r} has {there}, "
                    f"{name!r} {count or 'another input'}; give both the same parallelism, or use partition()"
                )
        for edge in deciding:
            if edge.kind in TO_ONE and count != 1:
                raise ConfigError(f"vertex {name!r}: {edge.kind} ends in one task, and it has {count}; use all{edge.kind}(), or parallelism=1")
        return count

    def _joined(self, operator: TaskFunction, edges: tuple[GraphEdge, ...], properties: Mapping[str, Any]) -> Dataset:
        """`operator` with these inputs."""
        deciding = sum(edge.kind not in TO_ALL for edge in edges)
        lowered = [lower(edge, operator.parallelism, alone=deciding == 1) for edge in edges]
        inputs = [one.input for one in lowered]
        if not deciding:
            assert operator.parallelism is not None
            ticks = self.session.range(operator.parallelism).with_property(parallelism=operator.parallelism)
            inputs.insert(0, Input(ticks, EdgeProperties()))
        complete = TaskFunction(
            operator.title,
            operator.function,
            operator.schema if operator.function is not None else _visible(inputs[-1].dataset.schema, lowered[-1].hidden),
            operator.parallelism,
            operator.format,
            len(inputs),
            operator.with_task,
            tuple(one.hidden for one in lowered if one.hidden is not None),
            not deciding,
        )
        return Dataset(self.session, _vertex(self.session, complete, complete.schema, properties), tuple(inputs))

    def _shared_out(self, name: str, dataset: Dataset, parallelism: int | None, properties: Mapping[str, Any]) -> Dataset:
        """A dataset as a vertex: as it is, or in as many equal, contiguous shares as there are tasks."""
        if dataset._session is not self.session:
            raise ConfigError(f"source {name!r}: the dataset belongs to another session")
        operator = TaskFunction(name, None, dataset.schema, parallelism)
        if parallelism is None:
            return Dataset(self.session, _vertex(self.session, operator, dataset.schema, properties), (Input(dataset, EdgeProperties()),))
        count = _count(parallelism, f"source {name!r}")
        column = building.fresh_name("share")
        marked = dataset._then(WithShare(column, count))
        edge = EdgeProperties(pattern=Pattern.USER_SHUFFLE, function=Column(column))
        whole = TaskFunction(name, None, dataset.schema, count, hidden=(column,))
        chosen = edge.with_user_choice(pattern=Pattern.USER_SHUFFLE, partition_count=count)
        return Dataset(self.session, _vertex(self.session, whole, dataset.schema, properties), (Input(marked, chosen),))


@dataclass(frozen=True)
class _Effect:
    """A function that is called for what it does."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> None:
        self.function(*arguments)


def _vertex(session: Session, operator: Any, schema: pl.Schema, properties: Mapping[str, Any]) -> Vertex:
    made = Vertex(operator, schema)
    if not properties:
        return made
    if "parallelism" in properties:
        raise ConfigError("parallelism of a vertex of a graph is an argument of its own")
    chosen = made.properties.with_user_choice(**properties)
    session._check_placement(chosen.placement)
    return Vertex(operator, schema, chosen, made.id)


def _visible(schema: pl.Schema, hidden: str | None) -> pl.Schema:
    return pl.Schema({name: dtype for name, dtype in schema.items() if name != hidden})


def _count(parallelism: Any, what: str) -> int:
    if isinstance(parallelism, bool) or not isinstance(parallelism, int) or parallelism < 1:
        raise ConfigError(f"{what}: parallelism is a number of tasks of at least 1, not {parallelism!r}")
    return parallelism


def _is_polars(table: Any) -> bool:
    return isinstance(table, pl.DataFrame | pl.LazyFrame)


def _infer(
    name: str, function: Callable[..., Any], edges: tuple[GraphEdge, ...], format: Format, with_task: bool, parallelism: int | None
) -> pl.Schema:
    """The result's schema, from a call with empty tables."""
    place = (GraphTask(name, 0, parallelism or 0),) if with_task else ()
    tables = []
    for edge in edges:
        lowered = lower(edge, parallelism or 1, alone=True)
        tables.append(to_format(pl.DataFrame(schema=lowered.input.dataset.schema), format))
    try:
        return from_format(function(*place, *tables), name).schema
    except Exception as error:
        raise SchemaError(
            f"vertex {name!r}: the result's schema could not be found by calling the function with empty tables ({error}); pass schema={{...}}"
        ) from error
