"""Tell sources how few of their rows are asked for.

    range(10**12) -> with_columns(x) -> slice(0, 3)  ~gather~>  slice(0, 3)
    ->    range(3) -> with_columns(x) -> slice(0, 3)  ~gather~>  slice(0, 3)

A limit goes below what gives one row for each row, and into every input of a concat. It stops at filters, whose rows nobody has counted: there the
runtime stops the tasks once enough rows have come (runtime/hand_out.py). The slices stay, so that a source is free to give more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag, Edge
from hpcflow.ir.operators.concat import Align, Concat
from hpcflow.ir.operators.reshape import Cast, FillNull, Rename
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.sort import Slice
from hpcflow.ir.operators.source import Source
from hpcflow.ir.operators.with_columns import WithColumns, WithScalars

ROW_FOR_ROW = (Select, WithColumns, WithScalars, Rename, Cast, FillNull, Align)


@dataclass(frozen=True)
class _Window:
    """rows: that are asked for, the first ones, or the last ones (`at_end`); None: all."""

    rows: int | None = None
    at_end: bool = False

    def with_more(self, other: _Window) -> _Window:
        """What satisfies both."""
        if self.rows is None or other.rows is None or self.at_end != other.at_end:
            return _ALL
        return self if self.rows >= other.rows else other


_ALL = _Window()


def push_limits(dag: Dag, context: CompileContext) -> Dag:
    """See the module."""
    if not any(isinstance(vertex.operator, Slice) for vertex in dag.vertices.values()):
        return dag
    asked: dict[int, _Window] = {}
    for vertex in reversed(list(dag.topological())):
        windows = [_of_input(dag, edge, asked[edge.target]) for edge in dag.outputs(vertex.id)]
        asked[vertex.id] = reduce(_Window.with_more, windows) if windows else _ALL
        window = asked[vertex.id]
        if isinstance(vertex.operator, Source) and window.rows is not None:
            narrowed = vertex.operator.with_rows(-window.rows if window.at_end else 0, window.rows)
            dag = dag if narrowed is vertex.operator else dag.with_vertex(replace(vertex, operator=narrowed))
    return dag


def _of_input(dag: Dag, edge: Edge, asked: _Window) -> _Window:
    """What the reader of `edge` asks for, of which `asked` is asked for."""
    operator = dag.vertices[edge.target].operator
    if edge.properties.pattern.moves_rows:
        return _ALL
    if isinstance(operator, Slice) and operator.partial and operator.length is not None:
        own = _Window(operator.length, operator.offset < 0)
        narrower = asked.rows is not None and asked.at_end == own.at_end and asked.rows < operator.length
        return asked if narrower else own
    return asked if isinstance(operator, (*ROW_FOR_ROW, Concat)) else _ALL
