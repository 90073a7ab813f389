"""How methods of Dataset become vertices and edges: parsing of arguments, lowering of expressions, orders and positions.

select / with_columns / filter     ->  plan_expressions: aggregates to gather and broadcast, windows to shuffle and bring back, the row-wise rest
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from hpcflow.api.extras import require_extra
from hpcflow.api.schemas import polars_errors
from hpcflow.arguments import shown
from hpcflow.errors import ArgumentTypeError, ArgumentValueError, ConfigError, SchemaError
from hpcflow.expressions import AggregateStep, WindowStep, plan_expressions, row_wise_keys
from hpcflow.ir import legality
from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.edge_needs import unused
from hpcflow.ir.operators.base import Operator
from hpcflow.ir.operators.concat import Cache, ReadCache
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.group_by import FinalGroupBy, PartialGroupBy
from hpcflow.ir.operators.iterate import Iterate
from hpcflow.ir.operators.select import Select, SelectWhole
from hpcflow.ir.operators.sort import Sort
from hpcflow.ir.operators.task_function import TaskFunction
from hpcflow.ir.operators.with_columns import ReturnToOrigin, WindowColumns, WithColumns, WithOrigin, WithScalars
from hpcflow.ir.properties import EdgeProperties, Pattern, SortKey
from hpcflow.ir.properties import check_names as check_property_names

if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset
    from hpcflow.session import Session

_numbers = itertools.count()
_TOKEN = str(secrets.randbelow(10**12)).zfill(12)
OF_A_GRAPH = ("pattern", "keys", "order", "function", "columns", "partition_count")
"""Properties of an edge that a graph drawn by hand decides."""
_GATHER = EdgeProperties(pattern=Pattern.GATHER)


@dataclass(frozen=True)
class Input:
    """One input of a vertex: a dataset and the edge its rows travel along."""

    dataset: Dataset
    properties: EdgeProperties


def fresh_name(what: str) -> str:
    """A column name that no user has: nobody knows the token before the process has begun."""
    return f"__hf_{what}_{_TOKEN}{next(_numbers)}"


def parse(exprs: Iterable[Any], named: Mapping[str, Any]) -> list[pl.Expr]:
    """Positional and keyword arguments as Polars takes them: names, expressions, selectors, literals, nested lists."""
    parsed: list[pl.Expr] = []
    for item in exprs:
        if isinstance(item, pl.Expr):
            parsed.append(item)
        elif isinstance(item, str):
            parsed.append(pl.col(item))
        elif isinstance(item, Iterable) and not isinstance(item, bytes | pl.Series | pl.DataFrame | Mapping | np.ndarray):
            parsed += parse(item, {})
        else:
            parsed.append(literal(item))
    return parsed + [(e if isinstance(e, pl.Expr) else pl.col(e) if isinstance(e, str) else literal(e)).alias(name) for name, e in named.items()]


def literal(value: Any) -> pl.Expr:
    """A value of the program as an expression; ArgumentTypeError for what no column can hold."""
    if not (is_dataset := hasattr(value, "_vertex")):
        try:
            made = pl.lit(value)
            if pl.select(made).to_series().dtype != pl.Object:
                return made
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            pass
    hint = "; join the two datasets to compute with both" if is_dataset else ""
    raise ArgumentTypeError(f"expected a column name, a Polars expression or a value that a column can hold, not {shown(value)}{hint}")


def row_wise(dataset: Dataset, exprs: list[pl.Expr], what: str) -> list[pl.Expr]:
    """Expanded expressions that must be row-wise (keys of all kinds)."""
    with polars_errors(dataset.schema):
        return row_wise_keys(exprs, dataset.schema, what)


def flags(value: Any, count: int, name: str) -> tuple[bool, ...]:
    """One bool for all keys, or one each."""
    values = (value,) * count if isinstance(value, bool) else tuple(value)
    if len(values) == 1:
        values *= count
    if len(values) != count:
        raise ArgumentValueError(f"{name} has {len(values)} values for {count} keys")
    return values


# -- expressions ------------------------------------------------------------------------------------------------------------------------------------


def with_columns(dataset: Dataset, exprs: list[pl.Expr]) -> Dataset:
    """with_columns with any supported expression."""
    return _planned(dataset, exprs, "with_columns")


def filter(dataset: Dataset, predicates: list[pl.Expr]) -> Dataset:
    """filter with any supported expression."""
    for predicate in predicates:
        with polars_errors(dataset.schema):
            for name, dtype in pl.LazyFrame(schema=dataset.schema).select(predicate).collect_schema().items():
                if dtype not in (pl.Boolean, pl.Null):
                    raise SchemaError(f"filter: the predicate {' '.join(str(predicate).split())} is {dtype} ({name!r}), not Boolean")
    return _planned(dataset, predicates, "filter")


def select(dataset: Dataset, exprs: list[pl.Expr]) -> Dataset:
    """select with any supported expression."""
    return _planned(dataset, exprs, "select")


def _planned(dataset: Dataset, exprs: list[pl.Expr], context: Any) -> Dataset:
    with polars_errors(dataset.schema):
        plan = plan_expressions(exprs, dataset.schema, context)
    if context == "select" and not plan.final:
        return dataset._session.from_polars(pl.DataFrame())  # no rows either, as in Polars; drop() keeps their number
    if plan.gathered:
        return dataset._then(SelectWhole(plan.final), _GATHER)
    original = dataset.columns
    rows: list[Dataset] = []
    for step in plan.steps:
        if isinstance(step, WindowStep):
            dataset = windows(dataset, step)
            continue
        rows.append(aggregate(dataset, step))
        if not (plan.one_row and step is plan.steps[-1]):
            dataset = dataset._then(WithScalars(), None, Input(rows[-1], EdgeProperties(pattern=Pattern.BROADCAST)))
    if plan.one_row:
        if not rows:
            return _constants(dataset, plan.final)
        one = rows[-1]
        for earlier in rows[:-1]:
            one = one._then(WithScalars(), None, Input(earlier, EdgeProperties(pattern=Pattern.BROADCAST)))
        return one._then(Select(plan.final))
    if context == "filter":
        combined = plan.final[0]
        for predicate in plan.final[1:]:
            combined = combined & predicate
        result = dataset._then(Filter(combined))
    elif context == "with_columns":
        result = dataset._then(WithColumns(plan.final))
    elif plan.length_changing:
        return dataset._then(SelectWhole(plan.final, partial=True))
    else:
        return dataset._then(Select(plan.final))
    made = {e.meta.output_name() for e in plan.final} if context == "with_columns" else set()
    kept = [name for name in result.columns if name in original or name in made]
    return result if len(kept) == len(result.columns) else result._then(Select(tuple(pl.col(name) for name in kept)))


def _constants(dataset: Dataset, final: Iterable[pl.Expr]) -> Dataset:
    """A select of literals only: one row, whatever the rows of the dataset."""
    with polars_errors(dataset.schema):
        row = pl.LazyFrame(schema=dataset.schema).select(final).collect()
    return dataset._session.from_polars(row)


def aggregate(dataset: Dataset, step: AggregateStep) -> Dataset:
    """All rows to one row of aggregates: partial aggregates of each task, merged on one worker; or all rows gathered where one does not decompose."""
    parts = step.combined
    if not parts.complete:
        return dataset._then(SelectWhole(step.aggregates), _GATHER)
    partial = dataset._then(PartialGroupBy((), parts.partial, parts.merge))
    final = tuple(one for one in parts.final if one is not None)
    return partial._then(FinalGroupBy((), parts.merge, final), _GATHER)


def windows(dataset: Dataset, step: WindowStep) -> Dataset:
    """Bring the rows of each key together, evaluate, and bring rows back to where they were."""
    origin = fresh_name("origin")
    marked = with_origin(dataset, origin)
    keys = row_wise(dataset, list(step.keys), "over")
    edge = EdgeProperties(pattern=Pattern.HASH_SHUFFLE, keys=tuple(keys))
    evaluated = marked._then(WindowColumns(tuple(keys), step.windows), edge)
    return back_to_order(evaluated, [origin])


# -- order ------------------------------------------------------------------------------------------------------------------------------------------


def with_origin(dataset: Dataset, column: str) -> Dataset:
    """Add each row's place, (task, row), as a sortable column."""
    return dataset._then(WithOrigin(column))


def back_to_order(dataset: Dataset, origins: list[str], descending: bool = False, nulls_last: bool = False) -> Dataset:
    """Sort by origin columns and drop them."""
    order = tuple(SortKey(pl.col(name), descending, nulls_last) for name in origins)
    edge = EdgeProperties(pattern=Pattern.RANGE_SHUFFLE, order=order)
    if len(origins) == 1 and not descending and not nulls_last:
        return dataset._then(ReturnToOrigin(origins[0]), edge)
    ordered = dataset._then(Sort(order), edge)
    return ordered._then(Select(tuple(pl.col(c) for c in ordered.columns if c not in origins)))


def sort(dataset: Dataset, by: list[pl.Expr], descending: Any, nulls_last: Any) -> Dataset:
    """Global, stable sort by row-wise keys."""
    keys = row_wise(dataset, by, "sort")
    down, last = flags(descending, len(keys), "descending"), flags(nulls_last, len(keys), "nulls_last")
    order = tuple(SortKey(key, d, n) for key, d, n in zip(keys, down, last, strict=True) if key.meta.root_names())
    if not order:  # constants order nothing
        return dataset
    return dataset._then(Sort(order), EdgeProperties(pattern=Pattern.RANGE_SHUFFLE, order=order))


# -- properties and the Dag -------------------------------------------------------------------------------------------------------------------------


def with_property(dataset: Dataset, input: int, properties: Mapping[str, Any]) -> Dataset:
    """A copy of the dataset whose last vertex, or the edge into its input `input`, has these properties for good."""
    vertex = dataset._vertex
    if isinstance(vertex.operator, Iterate):
        raise ConfigError("a loop is run iteration by iteration and has no properties of its own; set them in its body, or on a dataset behind it")
    check_property_names(properties, [*vertex.properties.choices(), *EdgeProperties.choices()])
    on_vertex = {k: v for k, v in properties.items() if k in vertex.properties.choices()}
    on_edge = {k: v for k, v in properties.items() if k not in on_vertex}
    inputs = dataset._inputs
    if on_edge:
        if not 0 <= input < len(inputs):
            raise ConfigError(
                f"{vertex.operator.name} has {len(inputs)} inputs, no input {input}; set {', '.join(on_edge)} on a dataset with an input edge"
            )
        if isinstance(vertex.operator, TaskFunction) and (own := [name for name in on_edge if name in OF_A_GRAPH]):
            raise ConfigError(f"{', '.join(own)} of an edge of a graph is what its kind and the parallelism of its vertices say")
        changed = Input(inputs[input].dataset, inputs[input].properties.with_user_choice(**on_edge))
        if "columns" in on_edge and changed.properties.columns:
            require_extra("numba", "with_property(columns=...)")
        if wrong := unused(changed.properties):
            raise ConfigError(f"with_property on {vertex.operator.name}, input {input}: {wrong}")
        inputs = (*inputs[:input], changed, *inputs[input + 1 :])
    chosen = vertex.properties.with_user_choice(**on_vertex) if on_vertex else vertex.properties
    if on_vertex.get("parallelism") is not None and not _reads_a_source(inputs):
        raise ConfigError(
            f"{vertex.operator.name}: parallelism is a wish of tasks that read a source, and the tasks here are the partitions of the exchange "
            "before; set partition_count on that, or call repartition(n)"
        )
    if isinstance(chosen.placement, tuple) and "placement" in on_vertex:
        _check_placement(chosen.placement, dataset._session)
    elif chosen.placement is not None and "placement" in on_vertex:
        dataset._session._check_placement(chosen.placement)
    made = type(dataset)(dataset._session, Vertex(vertex.operator, vertex.schema, chosen), inputs)
    try:
        legality.check(to_dag([made], {}))
    except legality.IllegalDagError as error:
        raise ConfigError(f"with_property: {error}") from None
    return made


def _reads_a_source(inputs: Sequence[Input]) -> bool:
    """Whether a vertex with these inputs runs in the tasks of a source, or is one."""
    one_to_one = [i.dataset for i in inputs if i.properties.pattern is Pattern.ONE_TO_ONE]
    return not inputs or any(_reads_a_source(dataset._inputs) for dataset in one_to_one)


def _check_placement(placement: tuple[int, ...], session: Session) -> None:
    """ConfigError when none of these workers is there; a session that only shows plans may have fewer than the program will run on."""
    workers = getattr(session, "workers", None)  # none where a program is only looked at
    if workers is not None and not session._plans_only and not any(0 <= number < workers for number in placement):
        raise ConfigError(f"placement={placement}: no such worker; this session has {workers}, numbered from 0")


def behind(datasets: Iterable[Dataset], stop: Callable[[Operator], bool] = lambda operator: False) -> Iterator[Dataset]:
    """These datasets and those that they come from, each once; what is behind an operator that `stop` says stays out."""
    seen: set[int] = set()
    stack = list(datasets)
    while stack:
        dataset = stack.pop()
        if dataset._vertex.id in seen:
            continue
        seen.add(dataset._vertex.id)
        yield dataset
        if not stop(dataset._vertex.operator):
            stack += [given.dataset for given in dataset._inputs]


def caches_to_fill(sinks: Sequence[Dataset], cached: Container[str]) -> set[str]:
    """Keys of the datasets that these cache on their way and that are not there yet."""

    def is_there(operator: Operator) -> bool:
        return isinstance(operator, Cache | Iterate) and operator.key in cached

    operators = [dataset._vertex.operator for dataset in behind(sinks, is_there)]
    return {operator.key for operator in operators if isinstance(operator, Cache) and not is_there(operator)}


def to_dag(sinks: Sequence[Dataset], cached: Mapping[str, Any]) -> Dag:
    """The logical Dag of these datasets; what is cached already is read, not computed again.

    A cached dataset that was given other properties (`with_property`) keeps the same rows under the same key: it is one vertex, the first met.
    """
    vertices: dict[int, Vertex] = {}
    edges: list[Edge] = []
    kept: dict[str, int] = {}
    same: dict[int, int] = {}
    stack = list(reversed(sinks))
    while stack:
        dataset = stack.pop()
        vertex = dataset._vertex
        if vertex.id in vertices or vertex.id in same:
            continue
        if isinstance(vertex.operator, Cache | Iterate) and (first := kept.setdefault(vertex.operator.key, vertex.id)) != vertex.id:
            same[vertex.id] = first
            continue
        if isinstance(vertex.operator, Cache | Iterate) and vertex.operator.key in cached:
            vertices[vertex.id] = Vertex(ReadCache(vertex.operator.key), vertex.schema, vertex.properties, vertex.id)
            continue
        vertices[vertex.id] = vertex
        for index, given in enumerate(dataset._inputs):
            edges.append(Edge(given.dataset._vertex.id, vertex.id, index, given.properties))
            stack.append(given.dataset)
    return Dag.of(vertices.values(), [replace(edge, source=same.get(edge.source, edge.source)) for edge in edges] if same else edges)
