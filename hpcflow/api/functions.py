"""Module functions over several datasets: twins of Polars' own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from hpcflow.api import building
from hpcflow.api.schemas import polars_errors
from hpcflow.arguments import check_value, checked_function
from hpcflow.errors import ArgumentValueError, ConfigError, SchemaError
from hpcflow.ir.dag import Vertex
from hpcflow.ir.operators.concat import Align, Concat
from hpcflow.ir.properties import EdgeProperties

if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset

How = Literal["vertical", "vertical_relaxed", "diagonal", "diagonal_relaxed"]


@checked_function
def concat(items: Iterable[Dataset], *, how: How = "vertical") -> Dataset:
    """The rows of the first dataset, then those of the second, ... See `polars.concat`."""
    datasets = _datasets(items, "concat")
    if not datasets:
        raise ArgumentValueError("concat needs at least one dataset")
    if len({id(d._session) for d in datasets}) != 1:
        raise ConfigError("concat: the datasets belong to different sessions")
    if len(datasets) == 1:
        return datasets[0]
    operator = Concat(how, len(datasets))
    with polars_errors(*(d.schema for d in datasets)):
        try:
            schema = pl.concat([pl.DataFrame(schema=d.schema) for d in datasets], how=how).schema
        except (pl.exceptions.SchemaError, pl.exceptions.ShapeError) as error:
            raise SchemaError(f"concat: {error}") from None
    aligned = [d if d.schema == schema else d._then(Align(schema)) for d in datasets]
    inputs = tuple(building.Input(d, EdgeProperties()) for d in aligned)
    return type(datasets[0])(datasets[0]._session, Vertex(operator, schema), inputs)


@checked_function
def collect_all(datasets: Iterable[Dataset]) -> list[pl.DataFrame]:
    """The rows of several datasets of one session, computed together: what they share is computed once."""
    items = _datasets(datasets, "collect_all")
    if not items:
        return []
    if len({id(d._session) for d in items}) != 1:
        raise ConfigError("collect_all: the datasets belong to different sessions")
    return items[0]._session._collect(items)


def _datasets(items: Iterable[Any], what: str) -> list[Dataset]:
    """The items, each of which has to be a Dataset."""
    from hpcflow.api.dataset import Dataset

    found = list(items)
    for item in found:
        check_value(what, "an item", item, Dataset)
    return found
