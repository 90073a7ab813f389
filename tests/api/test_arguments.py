"""Every public method and function of the API, called with every kind of wrong argument: it works, or one of our own errors says why, at the call.

The methods are found by introspection: one that has no line in the tables below fails the first test.
"""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

import hpcflow as hf
from hpcflow.api.graph_edges import GraphEdge
from hpcflow.api.graph_vertex import GraphVertex
from hpcflow.api.group_by import GroupBy
from hpcflow.api.shorthands import Shorthands
from tests.thorough import spread, thorough

TABLE = pl.DataFrame(
    {"k": [1, 2, 3, 1], "v": [1.0, None, 3.0, 4.0], "s": ["a", "b", None, "d"], "l": [[1], [2, 3], [], None], "st": [{"x": n} for n in range(4)]}
)
NUMBERS = TABLE.select("k", "v")
FRAMES = (TABLE, TABLE.lazy(), TABLE["k"])
WRONG = [
    *(object(), None, 3.5, -1, 0, 10**30, float("nan"), True, decimal.Decimal(1), dt.date(2020, 1, 1), b"x", "", "no such thing", "ü\0", "k"),
    *([], {}, [None], [object()], [[]], ["k", 3], ["k", "k"], (1, 2), {1, 2}, {"k": 3}, {3: pl.Int64}, {"k": None}, {"a": pl.Int64}, iter([1])),
    *(*FRAMES, np.array([1, 2]), pl.Int64, pl.col("zz"), pl.lit(1), pl.col("k"), pl.selectors.all()),
]
FEW = WRONG[::5]
FUNCTIONS = ("mapping", "function", "body", "until", "partitioner", "reducer", "op")
"""Arguments that are functions of the user: what one raises is the user's."""


class Maker:
    """What methods are called on, and with: all that is right."""

    def __init__(self, session: hf.Session, folder: Any) -> None:
        self.session, self.folder = session, folder
        self.data = session.from_polars(TABLE)
        self.small = session.from_polars(TABLE.select("k", z="v"))
        self.numbers = session.from_polars(NUMBERS)
        TABLE.write_parquet(folder / "a.parquet")
        TABLE.select("k", "v", "s").write_csv(folder / "a.csv")
        TABLE.write_ipc(folder / "a.arrow")
        (folder / "a.txt").write_text("x\ny\n")
        self._written = 0

    def target(self) -> Any:
        """A directory that is not there."""
        self._written += 1
        return self.folder / f"out{self._written}"

    def graph(self) -> hf.Graph:
        """A graph with a vertex and a sink."""
        graph = hf.Graph(self.session)
        graph.sink("end", graph.source("rows", self.data, parallelism=2).gather())
        return graph

    def vertex(self) -> GraphVertex:
        """A vertex."""
        return hf.Graph(self.session).source("rows", self.data, parallelism=2)


@dataclass(frozen=True)
class From:
    """An argument that is made for each call."""

    make: Callable[[Maker], Any]


def same(table: Any) -> Any:
    return table


SCHEMA = dict(TABLE.schema)
KEYED = {"by": "k", "format": "polars", "reducer": pl.col("v").sum()}
NONE: dict[str, Any] = {}
JOIN = {"how": "inner", "left_on": None, "right_on": None, "suffix": "_r", "validate": "m:m", "nulls_equal": False, "coalesce": None}
FILE = {"n_rows": 1, "row_index_name": "i", "row_index_offset": 0, "glob": True, "storage_options": None}
PARQUET = {
    "schema": None,
    "hive_partitioning": None,
    "hive_schema": None,
    "missing_columns": "raise",
    "extra_columns": "raise",
    "use_statistics": True,
}
CSV = {"has_header": True, "separator": ",", "quote_char": '"', "comment_prefix": None, "skip_rows": 0, "skip_lines": 0, "schema": None}
CSV |= {"schema_overrides": None, "null_values": None, "infer_schema_length": 10, "encoding": "utf8", "eol_char": "\n", "new_columns": None}

# Class -> (what its methods are called on, method -> right arguments by name; "*" is one by place).
METHODS: dict[type, tuple[Callable[[Maker], Any], dict[str, dict[str, Any]]]] = {
    Shorthands: (
        lambda m: m.data,
        {
            **dict.fromkeys(("sum", "mean", "min", "max", "median", "null_count"), NONE),
            **{name: {"ddof": 1} for name in ("std", "var")},
            "drop_nans": {"subset": "k"},
            "remove": {"*": pl.col("k") > 1},
            "gather_every": {"n": 2, "offset": 0},
            "unpivot": {"on": "k", "index": "k", "variable_name": "x", "value_name": "y"},
        },
    ),
    hf.Dataset: (
        lambda m: m.data,
        {
            **dict.fromkeys(("collect_schema", "reverse", "first", "last", "cache", "collect", "to_arrow", "to_pandas", "count", "unpersist"), NONE),
            "filter": {"*": pl.col("k") > 1},
            "select": {"*": "k"},
            "with_columns": {"*": pl.col("k")},
            "drop": {"*": "k", "strict": True},
            "rename": {"mapping": {"k": "kk"}, "strict": True},
            "cast": {"dtypes": {"k": pl.Int8}, "strict": True},
            "fill_null": {"value": 1, "strategy": None, "limit": None, "matches_supertype": True},
            "fill_nan": {"value": 1.0},
            "drop_nulls": {"subset": "k"},
            "explode": {"columns": "l", "empty_as_null": False, "keep_nulls": True},
            "unnest": {"columns": "st", "separator": None},
            "with_row_index": {"name": "i", "offset": 0},
            "map_batches": {"function": same, "schema": SCHEMA, "format": "polars", "deterministic": False},
            "flat_map": {"function": lambda row: [row], "schema": SCHEMA, "deterministic": False},
            "bsp": {"function": lambda c, t: t, "inputs": (), "schema": SCHEMA, "format": "polars", "arguments": None, "deterministic": False},
            "pipe": {"function": same},
            "group_by": {"*": "k", "maintain_order": False},
            "join": {"other": From(lambda m: m.small), "on": "k", "maintain_order": None, **JOIN},
            "unique": {"subset": "k", "keep": "any", "maintain_order": False},
            "sort": {"by": "k", "descending": False, "nulls_last": False, "maintain_order": False, "multithreaded": True},
            "top_k": {"k": 1, "by": "k", "reverse": False},
            "bottom_k": {"k": 1, "by": "k", "reverse": False},
            **{name: {"n": 1} for name in ("head", "limit", "tail")},
            "slice": {"offset": 0, "length": 1},
            "sample": {"n": 1, "fraction": None, "with_replacement": False, "shuffle": False, "seed": 1},
            "repartition": {"n": 2, "by": None, "partitioner": None, "columns": ()},
            "with_property": {"input": 0, "parallelism": 2, "slots": 1, "memory_bytes": 1, "resources": {"cores": 1}, "placement": (0,)},
            "to_numpy": NONE,
            "submit": {"action": "count"},
            "iter_batches": {"rows": 2},
            **{f"write_{kind}": {"path": From(Maker.target), "mode": "overwrite"} for kind in ("parquet", "csv", "ipc")},
            "foreach_partition": {"function": same, "format": "polars"},
            "explain": {"passes": False, "analyze": False, "format": "text"},
        },
    ),
    GroupBy: (
        lambda m: m.numbers.group_by("k"),
        {
            **dict.fromkeys(("all", "sum", "mean", "min", "max", "median", "n_unique", "first", "last"), NONE),
            "agg": {"*": pl.len()},
            "having": {"*": pl.len() > 1},
            "len": {"name": "n"},
            "quantile": {"quantile": 0.5, "interpolation": "nearest"},
            "head": {"n": 1},
            "tail": {"n": 1},
            "map_groups": {"function": same, "schema": dict(NUMBERS.schema), "format": "polars"},
        },
    ),
    hf.Session: (
        lambda m: m.session,
        {
            "read_parquet": {"source": From(lambda m: m.folder / "a.parquet"), **FILE, **PARQUET},
            "read_csv": {"source": From(lambda m: m.folder / "a.csv"), **FILE, **CSV},
            "read_text": {"source": From(lambda m: m.folder / "a.txt"), **FILE, "name": "t"},
            "read_ipc": {"source": From(lambda m: m.folder / "a.arrow"), **FILE},
            "from_polars": {"df": TABLE},
            "from_arrow": {"table": TABLE.to_arrow()},
            "from_pandas": {"df": From(lambda m: TABLE.to_pandas())},
            "from_numpy": {"data": np.array([[1, 2]]), "schema": None},
            "from_items": {"items": [1, 2], "schema": None},
            "from_dict": {"data": {"a": [1]}, "schema": None},
            "range": {"start": 1, "end": 5, "step": 1, "name": "v"},
            "submit": {"datasets": From(lambda m: m.data), "action": "count"},
        },
    ),
    hf.Graph: (
        Maker.graph,
        {
            "source": {"name": "b", "rows": From(lambda m: m.data), "schema": None, "parallelism": 2},
            "compute": {"name": "c", "function": same, "schema": SCHEMA, "parallelism": 2, "format": "polars", "with_task": False, "slots": 1},
            "sink": {"name": "d", "function": None, "parallelism": 1, "format": "polars", "with_task": False},
            "run": NONE,
            "submit": NONE,
            "explain": {"passes": False, "analyze": False, "format": "text"},
        },
    ),
    GraphVertex: (
        Maker.vertex,
        {
            **dict.fromkeys(("direct", "partition", "broadcast", "allgather", "gather", "dataset"), NONE),
            **{name: {"by": pl.len(), "format": "polars"} for name in ("reduce", "allreduce")},
            **{name: {"by": "k"} for name in ("keyed_direct", "keyed_partition", "keyed_gather")},
            "keyed_reduce": KEYED,
        },
    ),
    GraphEdge: (lambda m: m.vertex().gather(), {"with_property": {"compression": "lz4", "ordered": True, "data_flow": "push"}}),
}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "concat": (hf.concat, {"items": From(lambda m: [m.data, m.data]), "how": "vertical"}),
    "collect_all": (hf.collect_all, {"datasets": From(lambda m: [m.data])}),
    "iterate": (
        hf.iterate,
        {"body": same, "state": From(lambda m: m.data), "until": None, "max_iterations": 2, "on_limit": "return", "checkpoint_every": 1},
    ),
    "broadcast": (hf.broadcast, {"value": 1}),
    "accumulator": (hf.accumulator, {"initial": 0}),
}
ELSEWHERE = {"Program", "program", "Future", "Broadcast", "Accumulator", "task_resources", "Session", "Dataset", "Graph"}
"""Exported names that are classes above, or have tests of their own: what they take is the user's, or comes from us."""
UNTRIED = {(hf.Session, "close")}


@pytest.fixture(scope="module")
def maker(_sessions, tmp_path_factory) -> Maker:
    from hpcflow.testing.session import InProcessSession
    from tests.api.conftest import SHAPES

    if "2x3" not in _sessions:
        _sessions["2x3"] = InProcessSession(progress="off", step_timeout_s=30, **SHAPES["2x3"])
    return Maker(_sessions["2x3"], tmp_path_factory.mktemp("arguments"))


def public(kind: type) -> set[str]:
    return {name for name, member in vars(kind).items() if not name.startswith("_") and callable(member)}


def test_every_public_method_and_function_is_tried():
    for kind, (_, methods) in METHODS.items():
        assert public(kind) == methods.keys() | {name for of, name in UNTRIED if of is kind}, kind
    errors = {name for name in hf.__all__ if isinstance(getattr(hf, name), type) and issubclass(getattr(hf, name), Exception)}
    assert set(hf.__all__) - errors - {"__version__"} == CALLS.keys() | ELSEWHERE


def called(maker: Maker, function: Callable[..., Any], right: dict[str, Any], name: str, value: Any) -> Any:
    """The call with one argument wrong."""
    arguments = {key: one.make(maker) if isinstance(one, From) else one for key, one in right.items()}
    arguments[name] = value
    by_place = [arguments.pop("*")] if "*" in arguments else []
    if getattr(function, "__name__", "") in ("compute", "sink"):  # their edges come between
        rows = function.__self__.vertices["rows"]
        first = ("name", "function") if function.__name__ == "compute" else ("name",)
        by_place = [*(arguments.pop(one) for one in first), rows.partition() if function.__name__ == "compute" else rows.gather()]
    result = function(*by_place, **arguments)
    return list(result) if inspect.isgenerator(result) else result


def check_refused(call: Callable[[], Any], what: str) -> None:
    """It works, or an error of ours is raised; a task may fail on a value that only the rows show to be wrong, and says where."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = call()
            if isinstance(result, hf.Dataset):
                result.collect()
        except hf.HpcflowError as error:
            assert len(str(error)) > 10, what
        except BaseException as error:
            error.add_note(what)
            raise


CASES = [(kind, name) for kind, (_, methods) in METHODS.items() for name in methods]


@pytest.mark.parametrize(("kind", "name"), spread(CASES, every=2), ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("values", [FEW, thorough(WRONG)], ids=["few", "all"])
def test_a_method_works_or_refuses_any_argument(maker, kind, name, values, monkeypatch):
    monkeypatch.chdir(maker.folder)
    make, methods = METHODS[kind]
    for argument in methods[name]:
        for value in values if argument not in FUNCTIONS else [one for one in values if not callable(one)]:
            what = f"{kind.__name__}.{name}({argument}={type(value)!s} {value!r:.60})"
            check_refused(lambda a=argument, v=value: called(maker, getattr(make(maker), name), methods[name], a, v), what)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_works_or_refuses_any_argument(maker, name, monkeypatch):
    monkeypatch.chdir(maker.folder)
    function, right = CALLS[name]
    for argument in right:
        for value in WRONG if argument not in FUNCTIONS else [one for one in WRONG if not callable(one)]:
            check_refused(lambda a=argument, v=value: called(maker, function, right, a, v), f"{name}({argument}={value!r:.60})")


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_an_argument_that_there_is_not_is_refused_at_the_call(maker, kind, name):
    make, methods = METHODS[kind]
    parameters = inspect.signature(getattr(kind, name)).parameters.values()
    if any(p.kind is p.VAR_KEYWORD and p.name not in ("options", "properties") for p in parameters):
        return  # names of columns, or of what a user's function takes
    with pytest.raises(hf.ConfigError, match="zzz_unknown"):
        called(maker, getattr(make(maker), name), methods[name], "zzz_unknown", 3)


SAID = {
    "a Dataset": (lambda m: m.data.join(TABLE, on="k"), r"join: other is a polars.DataFrame; expected a Dataset; session.from_polars"),
    "in a list": (lambda m: hf.concat([m.data, TABLE]), r"concat: an item is a polars.DataFrame; expected a Dataset; session.from_polars"),
    "a count": (lambda m: m.data.head(-1), r"head: n is -1; expected a whole number of at least 0"),
    "top_k": (lambda m: m.data.top_k(-1, by="k"), r"top_k: k is -1; expected a whole number of at least 0"),
    "a path": (lambda m: m.session.read_parquet(5), r"read_parquet: source is 5; expected a text or a path or a list of"),
    "a target": (lambda m: m.data.write_parquet(3), r"write_parquet: path is 3; expected a text or a path"),
    "partitions": (lambda m: m.data.repartition("value"), r"repartition: n is 'value'; expected a whole number of at least 1 or None"),
    "a format": (lambda m: m.data.map_batches(same, format="nmpy"), r"map_batches: format is 'nmpy'; expected one of .*did you mean 'numpy'"),
    "an argument": (lambda m: m.data.map_batches(same, schem=SCHEMA), r"map_batches has no argument 'schem'; did you mean 'schema'\?"),
    "of an action": (lambda m: m.data.collect(foo=3), r"collect has no argument 'foo'"),
    "submitted": (lambda m: m.data.submit("write_csv", "x", separater="|"), r"write_csv has no argument 'separater'; did you mean 'separator'"),
    "of a source": (lambda m: m.session.read_csv("x", seperator="|"), r"read_csv has no argument 'seperator'; did you mean 'separator'"),
    "n_row": (lambda m: m.session.read_parquet("x", n_row=3), r"read_parquet has no argument 'n_row'; did you mean 'n_rows'"),
    "of a sink": (lambda m: m.data.write_parquet("x", compresion="lz4"), r"write_parquet has no argument 'compresion'; did you mean 'compression'"),
    "how": (lambda m: m.data.join(m.small, on="k", how="outer"), r"join: unknown how='outer'; what SQL calls an outer join is 'full'"),
    "by place": (lambda m: m.data.head(1, 2), r"head takes 1 argument by place \(n\) and got 2"),
    "missing": (lambda m: m.data.top_k(1), r"top_k needs by\. It takes k, by, reverse"),
    "comm": (lambda m: hf.Session(comm=3), r"'comm' .*expected an mpi4py communicator"),
    "a name": (lambda m: m.data.rename({"k": 3}), r"rename: the new name of 'k' is 3; expected a text"),
    "two ways": (lambda m: m.data.repartition(2, by="k", partitioner=same), r"either by, .*or a partitioner"),
}


@pytest.mark.parametrize("name", SAID)
def test_an_error_names_the_argument_what_was_given_and_what_is_wanted(maker, name):
    call, message = SAID[name]
    with pytest.raises(hf.ConfigError, match=message) as error:
        call(maker)
    assert isinstance(error.value, TypeError | ValueError) or name in ("comm",)


def test_options_of_polars_own_engine_are_taken(maker):
    assert maker.data.collect(engine="streaming").height == 4
    assert maker.data.map_batches(same, schema=SCHEMA, predicate_pushdown=False).count() == 4
    with pytest.raises(hf.ArgumentValueError, match="submit"):
        maker.data.collect(background=True)


def test_options_of_polars_scans_that_change_no_row_are_taken(one_session, tmp_path):
    table = pl.DataFrame({"a": [1, 2]})
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.csv")
    assert one_session.read_parquet(tmp_path / "a.parquet", parallel="columns", low_memory=True, cache=False).collect().equals(table)
    assert one_session.read_csv(tmp_path / "a.csv", low_memory=True).collect().equals(table)
    with pytest.raises(hf.ArgumentTypeError, match="read_csv has no argument 'parallel'"):
        one_session.read_csv(tmp_path / "a.csv", parallel="columns")
