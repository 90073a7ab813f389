"""join: which edges a join's inputs travel along, and the key types both sides share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from hpcflow.api import building
from hpcflow.api.schemas import listed, polars_errors
from hpcflow.errors import ArgumentValueError, ConfigError, SchemaError, near_names
from hpcflow.expressions import common_key_types
from hpcflow.ir.dag import Vertex
from hpcflow.ir.operators.join import Join
from hpcflow.ir.properties import EdgeProperties, Pattern

if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset

HOWS = ("inner", "left", "right", "full", "semi", "anti", "cross")


def join(
    left: Dataset,
    right: Dataset,
    on: Any,
    how: str,
    left_on: Any,
    right_on: Any,
    suffix: str,
    validate: str,
    nulls_equal: bool,
    coalesce: bool | None,
    maintain_order: str | None,
) -> Dataset:
    """The dataset of a join; both sides are shuffled by their keys (the compiler may broadcast one of them instead)."""
    if how not in HOWS:
        full = "; what SQL calls an outer join is 'full'" if how.startswith("outer") else near_names(how, HOWS)
        raise ArgumentValueError(f"join: unknown how={how!r}{full}; there are {', '.join(HOWS)}")
    if left._session is not right._session:
        raise ConfigError("join: the two datasets belong to different sessions")
    lefts, rights = _keys(left, right, on, how, left_on, right_on)
    if maintain_order not in (None, "none"):
        return _in_order(left, right, lefts, rights, how, suffix, validate, nulls_equal, coalesce, maintain_order)
    operator = Join(how, tuple(lefts), tuple(rights), suffix, nulls_equal, coalesce, validate)
    with polars_errors(left.schema, right.schema):
        schema = _checked_schema(operator, left.schema, right.schema)
    if how == "cross":
        edges = (EdgeProperties(), EdgeProperties(pattern=Pattern.BROADCAST))
    else:
        lefts, rights = common_key_types(left.schema, right.schema, lefts, rights)
        edges = (EdgeProperties(pattern=Pattern.HASH_SHUFFLE, keys=tuple(lefts)), EdgeProperties(pattern=Pattern.HASH_SHUFFLE, keys=tuple(rights)))
    inputs = (building.Input(left, edges[0]), building.Input(right, edges[1]))
    return type(left)(left._session, Vertex(operator, schema), inputs)


def _keys(left: Dataset, right: Dataset, on: Any, how: str, left_on: Any, right_on: Any) -> tuple[list[pl.Expr], list[pl.Expr]]:
    if how == "cross":
        if on is not None or left_on is not None or right_on is not None:
            raise ConfigError("a cross join has no keys; leave on, left_on and right_on out")
        return [], []
    if on is not None and (left_on is not None or right_on is not None):
        raise ConfigError("join: give either on, or left_on and right_on")
    given = (on, on) if on is not None else (left_on, right_on)
    if given[0] is None or given[1] is None:
        raise ConfigError(f"join: how={how!r} needs on, or left_on and right_on")
    sides = [building.parse(listed(side), {}) for side in given]
    lefts, rights = building.row_wise(left, sides[0], "join"), building.row_wise(right, sides[1], "join")
    if len(lefts) != len(rights):
        raise SchemaError(f"join: {len(lefts)} keys on the left and {len(rights)} on the right")
    return lefts, rights


def _checked_schema(operator: Join, left: pl.Schema, right: pl.Schema) -> pl.Schema:
    """The join of two empty tables: Polars refuses what it refuses, and words it."""
    from hpcflow.ir.operators.base import TaskInfo

    try:
        return operator.apply((pl.LazyFrame(schema=left), pl.LazyFrame(schema=right)), TaskInfo(0)).collect().schema
    except (pl.exceptions.SchemaError, pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError) as error:
        raise SchemaError(f"join: {error}") from None


def _in_order(
    left: Dataset,
    right: Dataset,
    lefts: list[pl.Expr],
    rights: list[pl.Expr],
    how: str,
    suffix: str,
    validate: str,
    nulls_equal: bool,
    coalesce: bool | None,
    order: str,
) -> Dataset:
    """Carry the positions of the rows through the join, then sort by them."""
    sides = {"left": [0], "right": [1], "left_right": [0, 1], "right_left": [1, 0]}.get(order)
    if sides is None:
        raise ConfigError(f"join: unknown maintain_order={order!r}; there are none, left, right, left_right, right_left")
    if how in ("semi", "anti"):
        sides = [0]
    names = [building.fresh_name("origin"), building.fresh_name("origin")]
    inputs = [building.with_origin(d, names[i]) if i in sides else d for i, d in enumerate((left, right))]
    joined = join(inputs[0], inputs[1], None, how, lefts or None, rights or None, suffix, validate, nulls_equal, coalesce, None)
    return building.back_to_order(joined, [names[i] for i in sides], nulls_last=True)
