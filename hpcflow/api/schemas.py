"""Checks of a program's columns against schemas, and the wording of what is wrong."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
import polars.exceptions as pe

from hpcflow.errors import ColumnNotFoundError, SchemaError, near_names
from hpcflow.expressions import expand
from hpcflow.expressions.tree import split_node, to_tree, walk
from hpcflow.ir.operators.base import Operator, TaskInfo
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.reshape import Cast, Explode
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.with_columns import WithColumns


@contextlib.contextmanager
def polars_errors(*schemas: pl.Schema) -> Iterator[None]:
    """Words the errors that Polars raises while it infers a schema: unknown columns with near names, the rest as Polars says it."""
    try:
        yield
    except (pe.SchemaError, pe.InvalidOperationError, pe.DuplicateError, pe.ShapeError, pe.ComputeError) as error:
        raise SchemaError(str(error).split("\n\nResolved plan until failure")[0]) from error
    except pe.ColumnNotFoundError as error:
        names = [name for schema in schemas for name in schema.names()]
        found = re.search(r'"([^"]*)"', str(error)) or re.search(r"^(\S+)", str(error))
        wrong = found.group(1) if found else str(error)
        raise ColumnNotFoundError(f"unknown column {wrong!r}{near_names(wrong, names)}; there are {', '.join(map(repr, names))}") from None


def check_types(operator: Operator, schema: pl.Schema) -> None:
    """Runs a row-wise operator on no rows: some types that do not go together are found by Polars only then. User functions are not called."""
    expressions: tuple[pl.Expr, ...] = ()
    if isinstance(operator, Select | WithColumns):
        expressions = operator.expressions
    elif isinstance(operator, Filter):
        expressions = (operator.predicate,)
    typed = isinstance(operator, Cast | Explode) or (bool(expressions) and not any(_calls_user_code(e) for e in expressions))
    if typed:
        operator.apply((pl.LazyFrame(schema=schema),), TaskInfo(0)).collect()


def _calls_user_code(expression: pl.Expr) -> bool:
    return any(split_node(node)[0] == "AnonymousFunction" for node in walk(to_tree(expression)))


def check_columns(names: Iterable[str], schema: pl.Schema, what: str) -> None:
    """Raises ColumnNotFoundError for the first name that `schema` does not have."""
    for name in names:
        if name not in schema:
            raise ColumnNotFoundError(
                f"{what}: unknown column {name!r}{near_names(name, schema.names())}; there are {', '.join(map(repr, schema.names()))}"
            )


def expand_columns(columns: Any, schema: pl.Schema) -> list[pl.Expr]:
    """One expression for each output of names, selectors and expressions."""
    given = [columns] if isinstance(columns, str | pl.Expr) else list(columns)
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
