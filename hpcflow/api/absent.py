"""What to write instead of a method that `polars.LazyFrame` has and a Dataset has not.

Invariant: a name that a Dataset lacks is an AttributeError that says what comes nearest; a name of Polars says why it is not there.

    why_absent("sink_parquet")       # "write_parquet writes a directory with a file a task"
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from hpcflow.errors import near_names

_ORDER = "it looks at neighbouring rows, and rows lie in partitions; within groups use the expression with .over(keys)"
_KEYS = "it matches rows by an order; write it as a join on keys and a filter"
_COLLECTED = "it is for a table that is there: collect() first"
_LAZY = "a Dataset is lazy already"
_NOT_NEEDED = "leave it out: it changes nothing here"
_INSTEAD = {
    **dict.fromkeys(("shift", "interpolate", "gather"), _ORDER),
    **dict.fromkeys(("rolling", "group_by_dynamic"), f"{_ORDER}, or group_by a column of truncated times"),
    **dict.fromkeys(("join_asof", "join_where", "merge_sorted", "update"), _KEYS),
    **dict.fromkeys(("describe", "show", "height", "shape", "to_dicts", "rows", "item", "write_json", "plot"), _COLLECTED),
    **dict.fromkeys(("lazy", "clone"), _LAZY),
    **dict.fromkeys(("set_sorted", "inspect"), _NOT_NEEDED),
    **{f"sink_{kind}": f"write_{kind} writes a directory with a file a task" for kind in ("parquet", "csv", "ipc")},
    "sink_batches": "foreach_partition(function) calls a function with the rows of each partition",
    "collect_batches": "iter_batches() gives the rows batch by batch",
    "collect_async": "submit() begins an action and gives a future",
    "select_seq": "write select",
    "with_columns_seq": "write with_columns",
    "pivot": "its columns depend on the rows; group_by and agg with an expression for each column, or collect() first",
    "quantile": "write select(pl.all().quantile(...))",
    "clear": "write head(0)",
    "show_graph": "explain(format='dot') gives the graph as text",
    "sql": "SQL is not there yet; write it with methods",
}


def why_absent(name: str) -> str | None:
    """The next step for a name of Polars; None for any other."""
    return _INSTEAD.get(name) or ("use what docs/api.md lists, or collect() first" if hasattr(pl.LazyFrame, name) else None)


def absent(name: str, there: Iterable[str]) -> AttributeError:
    """The error of a Dataset that has no attribute `name`, but those `there`."""
    why = why_absent(name)
    return AttributeError(f"a Dataset has no {name!r}" + (f": {why}" if why else near_names(name, there) or "; docs/api.md lists its methods"))
