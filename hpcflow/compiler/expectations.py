"""How many rows and bytes are to be expected at each vertex: guesses where `estimates` has no upper bound, or a far one.

Rows of sources are known. A filter keeps a share by the kind of its comparisons; two tables are joined on the keys of the smaller one, as foreign
keys are: left rows x right rows / the keys of the side that has fewer (Selinger et al., 1979, with rows of the base table for distinct values).
Invariant: a guess decides how rows travel, never what the result is; who uses one is careful by a factor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from hpcflow.compiler.estimates import SAME_ROWS_OR_FEWER
from hpcflow.compiler.policy import CompileContext
from hpcflow.expressions.tree import Tree, children, split_node, to_tree
from hpcflow.ir.dag import Dag, Vertex
from hpcflow.ir.operators.concat import Concat, ReadCache
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.group_by import FinalGroupBy, GroupBy, PartialGroupBy
from hpcflow.ir.operators.join import Join
from hpcflow.ir.operators.sort import Slice, SlicePositions, TopK
from hpcflow.ir.operators.source import Source

_COMPARED = dict.fromkeys(("Lt", "LtEq", "Gt", "GtEq"), 0.4)
_SHARE = {"Eq": 0.1, "NotEq": 0.9, "IsBetween": 0.25, "IsIn": 0.25, "Contains": 0.2, "StartsWith": 0.1, "EndsWith": 0.1, **_COMPARED}
_OTHER_SHARE, _LEAST_SHARE = 0.5, 0.01


@dataclass(frozen=True)
class Expected:
    """rows: of the vertex; row_bytes: of one of them in memory; keys: rows of the largest table in it before any filter."""

    rows: float
    row_bytes: float
    keys: float

    @property
    def size_bytes(self) -> float:
        """Bytes in memory."""
        return self.rows * self.row_bytes


def expected_sizes(dag: Dag, context: CompileContext) -> dict[int, Expected | None]:
    """Vertex -> what to expect; None where nothing is known (functions of users, exploded lists)."""
    found: dict[int, Expected | None] = {}
    for vertex in dag.topological():
        found[vertex.id] = _expected(dag, vertex, [found[edge.source] for edge in dag.inputs(vertex.id)], context)
    return found


def _expected(dag: Dag, vertex: Vertex, inputs: list[Expected | None], context: CompileContext) -> Expected | None:
    operator = vertex.operator
    if isinstance(operator, Source):
        statistics = operator.statistics()
        return _known(statistics.rows, statistics.size_bytes, vertex.schema)
    if isinstance(operator, ReadCache):
        if operator.key not in context.cached:
            return None
        cached_rows, cached_bytes = context.cached[operator.key]
        return _known(cached_rows or None, cached_bytes, vertex.schema)
    known = [one for one in inputs if one is not None]
    if not known or len(known) < len(inputs):
        return None
    first = known[0]
    if isinstance(operator, Concat):
        total = sum(one.rows for one in known)
        return Expected(total, sum(one.size_bytes for one in known) / max(1.0, total), sum(one.keys for one in known))
    if isinstance(operator, Join):
        return _joined(operator.how, first, known[1], vertex.schema, dag.input_schemas(vertex.id))
    if isinstance(operator, Filter):
        return replace(first, rows=first.rows * max(_LEAST_SHARE, share(to_tree(operator.predicate))))
    if isinstance(operator, Slice | SlicePositions | TopK):
        most = operator.k if isinstance(operator, TopK) else operator.length
        return first if most is None else replace(first, rows=min(first.rows, float(most)))
    if not isinstance(operator, SAME_ROWS_OR_FEWER):
        return None
    rows = 1.0 if isinstance(operator, GroupBy | PartialGroupBy | FinalGroupBy) and not operator.keys else first.rows
    width = first.row_bytes * _nominal(vertex.schema) / _nominal(dag.input_schemas(vertex.id)[0])
    return Expected(rows, width, first.keys)


def _known(rows: int | None, size_bytes: int | None, schema: pl.Schema) -> Expected | None:
    """A table of which rows or bytes are known; a loop knows the bytes of its state and not the rows."""
    nominal = _nominal(schema)
    if rows is None and size_bytes is None:
        return None
    if rows is None:
        return Expected((size_bytes or 0) / nominal, nominal, (size_bytes or 0) / nominal)
    return Expected(rows, size_bytes / rows if size_bytes is not None and rows else nominal, rows)


def _joined(how: str, left: Expected, right: Expected, schema: pl.Schema, inputs: tuple[pl.Schema, ...]) -> Expected:
    if how in ("semi", "anti"):
        return left
    matches = left.rows * right.rows / max(1.0, min(left.keys, right.keys))
    rows = {
        "cross": left.rows * right.rows,
        "left": max(left.rows, matches),
        "right": max(right.rows, matches),
        "full": max(left.rows + right.rows, matches),
    }.get(how, matches)
    width = (left.row_bytes + right.row_bytes) * _nominal(schema) / sum(_nominal(one) for one in inputs)
    return Expected(rows, width, max(left.keys, right.keys))


def share(predicate: Tree) -> float:
    """Share of rows for which a predicate holds, guessed from its form."""
    name, body = split_node(predicate)
    below = children(predicate)
    if name == "BinaryExpr":
        operation = body["op"]
        if operation in ("And", "Or"):
            left, right = (share(child) for child in below)
            return left * right if operation == "And" else left + right - left * right
        return _SHARE.get(operation, _OTHER_SHARE)
    if name == "Function":
        words = _names(body["function"])
        if "Not" in words:
            return 1 - share(below[0])
        return next((_SHARE[word] for word in words if word in _SHARE), _OTHER_SHARE)
    return _OTHER_SHARE


def _names(function: Tree) -> list[str]:
    """A function's name and those of its families: {"Boolean": {"IsIn": ...}} -> Boolean, IsIn."""
    names: list[str] = []
    while isinstance(function, dict) and len(function) == 1:
        ((name, function),) = function.items()
        names.append(name)
    return [*names, function] if isinstance(function, str) else names


def _nominal(schema: pl.Schema) -> float:
    """Bytes of a row by the types alone; only ratios of it are used where rows are known."""
    return sum(24.0 if dtype.is_nested() or dtype in (pl.String, pl.Binary) else _fixed(dtype) for dtype in schema.values()) or 1.0


def _fixed(dtype: pl.DataType) -> float:
    digits = "".join(letter for letter in str(dtype).split("(")[0] if letter.isdigit())
    return float(digits) / 8 if digits else 16.0 if dtype == pl.Decimal else 8.0
