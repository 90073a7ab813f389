"""A vertex of a task graph, and the kinds of edges that start there: see `hpcflow.api.graph`.

    counts = graph.compute("counts", count, words.keyed_partition("word"))
    graph.sink("result", counts.gather())

Invariant: an edge is checked against the vertex's columns when it is drawn, so that an error points at the line that drew it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from hpcflow.api import building
from hpcflow.api.dataset import Dataset
from hpcflow.api.graph_edges import GraphEdge, check_reducer
from hpcflow.api.schemas import listed
from hpcflow.arguments import checked
from hpcflow.errors import ConfigError
from hpcflow.ir.operators.map_batches import Format

if TYPE_CHECKING:
    from hpcflow.api.graph import Graph

Reducer = Callable[[Any], Any] | pl.Expr | list[pl.Expr]


@checked
@dataclass(frozen=True, eq=False)
class GraphVertex:
    """A source or compute vertex of a graph; its methods start edges to others."""

    graph: Graph
    name: str
    parallelism: int | None
    """Tasks; None: those that the engine made for a dataset."""
    rows: Dataset
    """What the vertex puts out, as a dataset: rows in task order."""
    edges: tuple[GraphEdge, ...] = ()

    def direct(self) -> GraphEdge:
        """Rows of task i to task i."""
        return self._edge("direct")

    def partition(self) -> GraphEdge:
        """Rows dealt out to the tasks one after another (round robin)."""
        return self._edge("partition")

    def broadcast(self) -> GraphEdge:
        """All rows to every task."""
        return self._edge("broadcast")

    def allgather(self) -> GraphEdge:
        """The rows of all tasks, in task order, to every task: MPI's name for broadcasting a table that lies in parts."""
        return self._edge("allgather")

    def gather(self) -> GraphEdge:
        """The rows of all tasks, in task order, to one task."""
        return self._edge("gather")

    def reduce(self, by: Reducer, *, format: Format = "polars") -> GraphEdge:
        """What all rows come to, to one task.

        Args:
            by: aggregations (one row in all), or `function(table) -> table` of the same columns, which is called with the rows of each task and then
                with its own results put together: it must not matter how rows are parted, as for an operator of MPI.
            format: of the tables that the function is given.
        """
        return self._edge("reduce", reducer=by, format=format)

    def allreduce(self, by: Reducer, *, format: Format = "polars") -> GraphEdge:
        """`reduce` whose result goes to every task."""
        return self._edge("allreduce", reducer=by, format=format)

    def keyed_direct(self, by: Any) -> GraphEdge:
        """Task i to task i, one row a key: the other columns as lists of the values that the task has for the key."""
        return self._edge("keyed_direct", by)

    def keyed_partition(self, by: Any) -> GraphEdge:
        """Rows of equal keys to one task. by: column names or row-wise expressions."""
        return self._edge("keyed_partition", by)

    def keyed_reduce(self, by: Any, reducer: Reducer, *, format: Format = "polars") -> GraphEdge:
        """What the rows of each key come to, all of a key to one task.

        Args:
            by: column names or row-wise expressions.
            reducer: aggregations as `group_by(by).agg()` takes them, evaluated in part before rows travel; or `function(table) -> table` of the same
                columns, called with the rows of each task and with its own results for whole keys, of many keys at a time.
            format: of the tables that the function is given.
        """
        return self._edge("keyed_reduce", by, reducer, format)

    def keyed_gather(self, by: Any) -> GraphEdge:
        """One row a key, all of a key to one task: the other columns as lists, in the order (source task, row)."""
        return self._edge("keyed_gather", by)

    def dataset(self) -> Dataset:
        """What the vertex puts out, as a dataset of the session: rows in task order."""
        self.graph._used.add(self.name)
        return self.rows

    def _edge(self, kind: str, by: Any = None, reducer: Reducer | None = None, format: Format = "polars") -> GraphEdge:
        keys = tuple(building.parse(listed(by), {})) if by is not None else ()
        if kind.startswith("keyed_"):
            if not keys:
                raise ConfigError(f"{kind} needs at least one key: a column name or a row-wise expression")
            building.row_wise(self.rows, list(keys), kind)
        given = reducer if reducer is None or callable(reducer) else tuple(building.parse([reducer], {}))
        edge = GraphEdge(self, kind, keys, given, format)
        check_reducer(edge)
        return edge

    def __repr__(self) -> str:
        tasks = "the dataset's tasks" if self.parallelism is None else f"{self.parallelism} task{'s' if self.parallelism > 1 else ''}"
        return f"<hpcflow.GraphVertex {self.name!r}, {tasks}, columns {self.rows.columns}>"
