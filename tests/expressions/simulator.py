"""A small engine in one process: runs an `ExpressionPlan` over partitions, as the real one does over workers.

`run_plan(plan, frame, partitions)` returns the concatenated result. Partitions are consecutive slices; with more partitions than rows, or by the
sizes drawn here, some are empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from hpcflow.expressions import AggregateStep, ExpressionPlan, GroupDecomposition, WindowStep

PARTITIONS = (1, 2, 3, 7)


def cut(frame: pl.DataFrame, partitions: int) -> list[pl.DataFrame]:
    """Consecutive slices of uneven sizes; of 3 or more, the second is empty."""
    if partitions == 1:
        return [frame]
    weights = [0 if index == 1 and partitions > 2 else index + 1 for index in range(partitions)]
    ends = [round(frame.height * sum(weights[: index + 1]) / sum(weights)) for index in range(partitions)]
    starts = [0, *ends[:-1]]
    return [frame.slice(start, end - start) for start, end in zip(starts, ends, strict=True)]


def run_plan(plan: ExpressionPlan, frame: pl.DataFrame, partitions: int) -> pl.DataFrame:
    if plan.gathered:
        return pl.concat(cut(frame, partitions)).select(plan.final)
    parts = cut(frame, partitions)
    scalars = pl.DataFrame()
    for step in plan.steps:
        if isinstance(step, AggregateStep):
            row = aggregate(step, parts)
            scalars = pl.concat([scalars, row], how="horizontal")
            parts = [broadcast(part, row) for part in parts]
        else:
            parts = window(step, parts)
    if plan.one_row:
        return (scalars if scalars.width else frame.head(1)).select(plan.final)
    if plan.context == "filter":
        return pl.concat([part.filter(*plan.final).select(frame.columns) for part in parts])
    if plan.context == "with_columns":
        made = parts[0].lazy().select(plan.final).collect_schema().names()
        names = [*frame.columns, *(name for name in made if name not in frame.columns)]
        return pl.concat([part.with_columns(plan.final).select(names) for part in parts])
    return pl.concat([part.select(plan.final) for part in parts])


def broadcast(part: pl.DataFrame, row: pl.DataFrame) -> pl.DataFrame:
    return part.hstack([column.new_from_index(0, part.height) for column in row.get_columns()])


def aggregate(step: AggregateStep, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    whole = pl.concat(parts)
    combined = combine(step.combined, parts)
    columns = []
    for expr, final in zip(step.aggregates, step.combined.final, strict=True):
        name = expr.meta.output_name()
        columns.append((whole.select(expr) if final is None else combined.select(final))[name])
    return pl.DataFrame(columns)


def combine(parts_of: GroupDecomposition, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Partials per partition, merged pairwise first and then all: merging may be repeated."""
    if not parts_of.partial:
        return pl.DataFrame()
    partials = [part.select(parts_of.partial) for part in parts]
    half = len(partials) // 2
    groups = [group for group in (partials[:half], partials[half:]) if group]
    return pl.concat([pl.concat(group).select(parts_of.merge) for group in groups]).select(parts_of.merge)


def combine_groups(parts_of: GroupDecomposition, parts: Sequence[pl.DataFrame], keys: list[str]) -> pl.DataFrame:
    partials = [part.group_by(keys, maintain_order=True).agg(parts_of.partial) for part in parts]
    half = len(partials) // 2
    groups = [group for group in (partials[:half], partials[half:]) if group]
    merged = [pl.concat(group).group_by(keys, maintain_order=True).agg(parts_of.merge) for group in groups]
    total = pl.concat(merged).group_by(keys, maintain_order=True).agg(parts_of.merge)
    return total.select(*keys, *[one for one in parts_of.final if one is not None])


def window(step: WindowStep, parts: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Shuffle by keys into three partitions, run the windows, put the rows back."""
    sizes = [part.height for part in parts]
    whole = pl.concat(parts).with_row_index("__row")
    keys = whole.select([key.alias(f"__key_{index}") for index, key in enumerate(step.keys)])
    distinct = keys.unique(maintain_order=True).with_row_index("__key")
    owner = keys.join(distinct, on=keys.columns, how="left", nulls_equal=True, maintain_order="left")["__key"] % 3
    done = [whole.filter(owner == index).with_columns(step.windows) for index in range(3)]
    back = pl.concat(done).sort("__row").drop("__row")
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return [back.slice(start, size) for start, size in zip(starts, sizes, strict=True)]


def assert_same(got: pl.DataFrame, wanted: pl.DataFrame, what: str) -> None:
    """Exact rows and dtypes; floats within 1e-9 (f64) or 1e-5 (f32), relative."""
    assert got.schema == wanted.schema, f"{what}: schema {got.schema} but Polars gives {wanted.schema}"
    assert got.height == wanted.height, f"{what}: {got.height} rows but Polars gives {wanted.height}"
    for name in wanted.columns:
        if wanted[name].dtype.is_float():
            relative = 1e-9 if wanted[name].dtype == pl.Float64 else 1e-5
            for row, (a, b) in enumerate(zip(got[name].to_list(), wanted[name].to_list(), strict=True)):
                same = (a is None and b is None) or (
                    a is not None
                    and b is not None
                    and ((math.isnan(a) and math.isnan(b)) or a == b or math.isclose(a, b, rel_tol=relative, abs_tol=1e-12))
                )
                assert same, f"{what}: row {row} of {name} is {a} but Polars gives {b}"
        else:
            assert got[name].equals(wanted[name], null_equal=True), (
                f"{what}: {name} is {got[name].to_list()} but Polars gives {wanted[name].to_list()}"
            )
