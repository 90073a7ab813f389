"""`dataset.bsp(function, inputs=...)`: from datasets to a vertex that runs on all workers at once.

Invariant: the function is never called here: what it returns is declared, since MPI code cannot be tried out on one process and made-up rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from hpcflow.api.building import Input
from hpcflow.api.extras import require_extra
from hpcflow.api.schemas import schema_of
from hpcflow.errors import ConfigError
from hpcflow.ir.operators.bsp import Bsp
from hpcflow.ir.operators.concat import Cache, Repartition
from hpcflow.ir.operators.map_batches import Format
from hpcflow.ir.properties import EdgeProperties, Pattern

if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset

_FORMATS = ("polars", "arrow", "numpy", "array", "pandas")


def bsp(
    dataset: Dataset,
    function: Callable[..., Any],
    inputs: Sequence[Any] | Dataset,
    schema: Any,
    format: Format,
    arguments: Mapping[str, Any] | None,
    deterministic: bool,
) -> Dataset:
    """See `Dataset.bsp`."""
    if format not in _FORMATS:
        raise ConfigError(f"bsp: unknown format {format!r}; there are {', '.join(_FORMATS)}")
    if format == "pandas":
        require_extra("pandas", 'bsp with format="pandas"')
    others: tuple[Any, ...] = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    for other in others:
        if not isinstance(other, type(dataset)):
            raise ConfigError(f"bsp: inputs are datasets, not {type(other).__name__}; values go into arguments={{...}} or hf.broadcast(value)")
        if other._session is not dataset._session:
            raise ConfigError("bsp: all inputs must be of one session")
    operator = Bsp(
        function, pl.Schema() if schema is None else schema_of(schema, "bsp"), format, dict(arguments or {}), 1 + len(others), deterministic
    )
    return dataset._then(operator, share_of(dataset), *(Input(other, share_of(other)) for other in others))


def share_of(dataset: Dataset) -> EdgeProperties:
    """How rows reach a bsp step: in even, contiguous shares; those of a repartition stay in the partitions that their workers own."""
    vertex = dataset._vertex
    while True:
        if isinstance(vertex.operator, Repartition):
            return EdgeProperties()
        if not (vertex.operator.row_wise or isinstance(vertex.operator, Cache)) or len(dataset._inputs) != 1:
            return EdgeProperties(pattern=Pattern.SHARE)
        given = dataset._inputs[0]
        if given.properties.pattern is not Pattern.ONE_TO_ONE:
            return EdgeProperties(pattern=Pattern.SHARE)
        dataset = given.dataset
        vertex = dataset._vertex
