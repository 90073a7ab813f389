"""Checks of a program's columns against schemas, and the wording of what is wrong."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl
import polars.exceptions as pe

from hpcflow.arguments import shown
from hpcflow.errors import ArgumentTypeError, ColumnNotFoundError, HpcflowError, SchemaError, near_names
from hpcflow.expressions import expand
from hpcflow.expressions.tree import split_node, to_tree, walk
from hpcflow.ir.operators.base import Operator, TaskInfo
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.group_by import GroupBy, PartialGroupBy
from hpcflow.ir.operators.reshape import Cast, Explode
from hpcflow.ir.operators.select import Select, SelectWhole
from hpcflow.ir.operators.with_columns import WithColumns


@contextlib.contextmanager
def polars_errors(*schemas: pl.Schema) -> Iterator[None]:
    """Words the errors that Polars raises while it infers a schema: unknown columns with near names, the rest as Polars says it."""
    try:
        yield
    except HpcflowError:
        raise
    except pe.ColumnNotFoundError as error:
        names = [name for schema in schemas for name in schema.names()]
        found = re.search(r'"([^"]*)"', str(error)) or re.search(r"^(\S+)", str(error))
        wrong = found.group(1) if found else str(error)
        raise ColumnNotFoundError(f"unknown column {wrong!r}{near_names(wrong, names)}; there are {', '.join(map(repr, names))}") from None
    except (pe.PolarsError, pe.PanicException) as error:
        raise SchemaError(str(error).split("\n\nResolved plan until failure")[0]) from error
    except (TypeError, ValueError, AttributeError, OverflowError, NotImplementedError) as error:  # what Polars' Python part raises for odd arguments
        raise ArgumentTypeError(str(error)) from error


def check_types(operator: Operator, schema: pl.Schema) -> None:
    """Evaluates an operator's expressions on no rows: some types that do not go together are found by Polars only then. User functions are not
    called."""
    empty = pl.LazyFrame(schema=schema)
    if isinstance(operator, GroupBy | PartialGroupBy | SelectWhole):
        _check_aggregations(operator, empty)
        return
    expressions: tuple[pl.Expr, ...] = ()
    if isinstance(operator, Select | WithColumns):
        expressions = operator.expressions
    elif isinstance(operator, Filter):
        expressions = (operator.predicate,)
    typed = isinstance(operator, Cast | Explode) or (bool(expressions) and not any(_calls_user_code(e) for e in expressions))
    if typed:
        operator.apply((empty,), TaskInfo(0)).collect()


def _check_aggregations(operator: GroupBy | PartialGroupBy | SelectWhole, empty: pl.LazyFrame) -> None:
    """Only wrong types are told of: what an aggregation lacks on no rows (`item()`, `get(2)`), it may find on those that are there."""
    given = {GroupBy: "aggregations", PartialGroupBy: "partial", SelectWhole: "expressions"}[type(operator)]
    try:
        empty.select(one for one in getattr(operator, given) if not _calls_user_code(one)).collect()
    except (pe.PolarsError, pe.PanicException) as error:
        if isinstance(error, pe.InvalidOperationError | pe.SchemaError) and "dtype" in str(error):
            raise


def _calls_user_code(expression: pl.Expr) -> bool:
    return any(split_node(node)[0] == "AnonymousFunction" for node in walk(to_tree(expression)))


def check_names(names: Iterable[str]) -> None:
    """SchemaError for a column name that cannot travel, or that Polars takes for a pattern wherever it stands."""
    for name in names:
        if "\0" in name:
            raise SchemaError(f"column {name!r} has a NUL character in its name and cannot travel between workers: give it another")
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise SchemaError(f"column {name!r} is named like a pattern, which Polars takes for the columns that match it: give it another name")


def check_columns(names: Iterable[str], schema: pl.Schema, what: str) -> None:
    """Raises ColumnNotFoundError for the first name that `schema` does not have."""
    for name in names:
        if name not in schema:
            raise ColumnNotFoundError(
                f"{what}: unknown column {name!r}{near_names(name, schema.names())}; there are {', '.join(map(repr, schema.names()))}"
            )


def listed(given: Any) -> list[Any]:
    """One thing or several, as users give keys and columns: a list, whose members nobody has looked at."""
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | pl.Expr | pl.Series | pl.DataFrame):
        return list(given)
    return [given]


def schema_of(given: Any, what: str, argument: str = "schema") -> pl.Schema:
    """A schema as users give it: a pl.Schema, a dict or pairs of names and data types."""
    try:
        if isinstance(given, str | bytes):
            raise TypeError("a text is no schema")
        pairs = given.items() if isinstance(given, Mapping) else given
        named = [(name, dtype) for name, dtype in pairs]
        if wrong := [name for name, _ in named if not isinstance(name, str)]:
            raise TypeError(f"{wrong[0]!r} is no column name")
        schema = pl.Schema(dict(named))
        return pl.DataFrame(schema=schema).schema
    except (TypeError, ValueError, AttributeError, pe.PolarsError) as error:
        raise ArgumentTypeError(
            f"{what}: {argument} is {shown(given)}; expected a dict of names and Polars data types, such as {{'a': pl.Int64}} ({error})"
        ) from None


def expand_columns(columns: Any, schema: pl.Schema) -> list[pl.Expr]:
    """One expression for each output of names, selectors and expressions."""
    given = listed(columns)
    if wrong := [one for one in given if not isinstance(one, str | pl.Expr)]:
        raise ArgumentTypeError(f"columns are names, expressions or selectors, not {shown(wrong[0])}")
    with polars_errors(schema):
        return expand([pl.col(one) if isinstance(one, str) else one for one in given], schema)


def known_columns(columns: Any, schema: pl.Schema, what: str) -> list[str]:
    """Names of plain columns given as a name, a selector, a column expression or a list of these. Raises SchemaError for computed ones."""
    found = expand_columns(columns, schema)
    for one in found:
        if not one.meta.is_column():
            raise SchemaError(f"{what}: {one} is computed; add it with with_columns() and give its name")
    return [one.meta.output_name() for one in found]


def row_keys(names: Iterable[str], schema: pl.Schema) -> tuple[pl.Expr, ...]:
    """Key expressions of plain columns."""
    for name in names:
        if schema[name] == pl.Object:
            raise SchemaError(f"column {name!r} holds Python objects and cannot be a key; cast it first")
    return tuple(pl.col(name) for name in names)
