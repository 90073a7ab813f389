"""Checks of a program's columns against schemas, and the wording of what is wrong."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
import polars.exceptions as pe

from hpcflow.errors import ColumnNotFoundError, SchemaError, near_names


@contextlib.contextmanager
def polars_errors(*schemas: pl.Schema) -> Iterator[None]:
    """Words the errors that Polars raises while it infers a schema: unknown columns with near names, the rest as Polars says it."""
    try:
        yield
    except pe.ColumnNotFoundError as error:
        names = [name for schema in schemas for name in schema.names()]
        found = re.search(r'"([^"]*)"', str(error)) or re.search(r"^(\S+)", str(error))
        wrong = found.group(1) if found else str(error)
        raise ColumnNotFoundError(f"unknown column {wrong!r}{near_names(wrong, names)}; there are {', '.join(map(repr, names))}") from None


def check_columns(names: Iterable[str], schema: pl.Schema, what: str) -> None:
    """Raises ColumnNotFoundError for the first name that `schema` does not have."""
    for name in names:
        if name not in schema:
            raise ColumnNotFoundError(
                f"{what}: unknown column {name!r}{near_names(name, schema.names())}; there are {', '.join(map(repr, schema.names()))}"
            )


def known_columns(columns: Any, schema: pl.Schema) -> list[str]:
    """Names of plain columns given as a name, a selector, an expression or a list of these."""
    with polars_errors(schema):
        return pl.LazyFrame(schema=schema).select(columns).collect_schema().names()


def row_keys(names: Iterable[str], schema: pl.Schema) -> tuple[pl.Expr, ...]:
    """Key expressions of plain columns."""
    for name in names:
        if schema[name] == pl.Object:
            raise SchemaError(f"column {name!r} holds Python objects and cannot be a key; cast it first")
    return tuple(pl.col(name) for name in names)
