"""Dtypes of expressions, asked of Polars on an empty frame.

Invariant: what these say is what `LazyFrame.select` says; nothing is computed twice here. Frames are kept per schema, since building one of 100
columns takes a millisecond.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import polars as pl

from hpcflow.expressions.tree import Tree, from_tree, split_node, walk

SchemaLike = Mapping[str, pl.DataType]

_KEPT = 256
_frames: OrderedDict[tuple[tuple[str, pl.DataType], ...], pl.LazyFrame] = OrderedDict()


def empty_frame(schema: SchemaLike) -> pl.LazyFrame:
    """A lazy frame without rows of this schema."""
    key = tuple(schema.items())
    frame = _frames.get(key)
    if frame is None:
        frame = pl.DataFrame(schema=dict(schema)).lazy()
        _frames[key] = frame
        while len(_frames) > _KEPT:
            _frames.popitem(last=False)
    return frame


def dtype_of(tree: Tree, schema: SchemaLike) -> pl.DataType:
    """The dtype of one expression over rows of this schema. Raises Polars' error when it is ill-typed."""
    name, body = split_node(tree)
    if name == "Column":
        return schema[body]
    used = {body for name, body in map(split_node, walk(tree)) if name == "Column" and body in schema}
    read = {name: schema[name] for name in sorted(used)}
    return next(iter(empty_frame(read).select(from_tree(tree).alias("x")).collect_schema().values()))


def holds_categorical(dtype: pl.DataType) -> bool:
    """True when the dtype is, or nests, a Categorical (whose physical values differ from process to process)."""
    if isinstance(dtype, pl.Categorical):
        return True
    if isinstance(dtype, (pl.List, pl.Array)):
        return dtype.inner is not None and holds_categorical(dtype.inner)  # type: ignore[arg-type]
    return isinstance(dtype, pl.Struct) and any(holds_categorical(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
