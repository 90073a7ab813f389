"""Random task graphs, and what they give when evaluated in plain Python, task by task.

A drawing is a list of vertices: sources, and vertices with edges from earlier ones. Rows are pairs (k, v) of small integers. `draw` makes the graph
in hpcflow, `evaluate` the rows of every vertex, by task; both call the same `mix` on the same tables, in another representation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

import hpcflow as hf
from hpcflow.native import reference

SCHEMA = {"k": pl.Int64, "v": pl.Int64}
TO_ALL = ("broadcast", "allgather", "allreduce")
TO_ONE = ("gather", "reduce")
KEYED = ("keyed_partition", "keyed_gather", "keyed_reduce", "keyed_reduce_function")
Rows = list[tuple[int, int]]


@dataclass(frozen=True)
class Drawn:
    """A vertex of a drawing."""

    tasks: int
    edges: tuple[tuple[int, str], ...] = ()
    """(earlier vertex, kind of the edge)."""
    rows: int = 0
    """Of task 0 of a source; task i has i fewer."""


# -- in hpcflow -------------------------------------------------------------------------------------------------------------------------------------


def draw(session: hf.Session, drawing: list[Drawn]) -> hf.Graph:
    """The drawing as a graph; every vertex has a sink."""
    graph = hf.Graph(session)
    vertices: list[Any] = []
    for number, drawn in enumerate(drawing):
        if not drawn.edges:
            vertices.append(graph.source(str(number), _Numbers(drawn.rows), schema=SCHEMA, parallelism=drawn.tasks))
        else:
            edges = [_edge(vertices[source], kind) for source, kind in drawn.edges]
            vertices.append(graph.compute(str(number), _Mix(), *edges, schema=SCHEMA, parallelism=drawn.tasks, with_task=True))
    for vertex in vertices:
        graph.sink(f"all of {vertex.name}", vertex.direct())
    return graph


def _edge(vertex: Any, kind: str) -> Any:
    if kind in ("reduce", "allreduce"):
        return getattr(vertex, kind)(_largest)
    if kind == "keyed_reduce":
        return vertex.keyed_reduce("k", pl.col("v").sum())
    if kind == "keyed_reduce_function":
        return vertex.keyed_reduce("k", _sums)
    return getattr(vertex, kind)(*(["k"] if kind.startswith("keyed") else []))


@dataclass(frozen=True)
class _Numbers:
    rows: int

    def __call__(self, task: Any) -> Any:
        for k, v in numbers(task.index, self.rows):
            yield pl.DataFrame({"k": [k], "v": [v]}, schema=SCHEMA)


class _Mix:
    def __call__(self, task: Any, *tables: pl.DataFrame) -> pl.DataFrame:
        given = []
        for table in tables:
            summed = table.with_columns(pl.col("v").list.sum()) if isinstance(table.schema["v"], pl.List) else table
            given.append(summed.rows())
        return pl.DataFrame(mix(task.index, given), schema=SCHEMA, orient="row")


def _largest(table: pl.DataFrame) -> pl.DataFrame:
    return table.sort("v", "k").tail(1)


def _sums(table: pl.DataFrame) -> pl.DataFrame:
    return table.group_by("k").agg(pl.col("v").sum())


# -- in plain Python --------------------------------------------------------------------------------------------------------------------------------


def numbers(task: int, rows: int) -> Rows:
    """What a source gives."""
    return [((task * 5 + row * 3) % 4, row * 7 - task) for row in range(max(0, rows - task))]


def mix(task: int, tables: list[Rows]) -> Rows:
    """Depends on the task, on how many rows each table has and on what they are; small."""
    made = [(k, (v * 3 + task + len(table) * (number + 2)) % 1009) for number, table in enumerate(tables) for k, v in sorted(table)]
    return made[:12]


def evaluate(drawing: list[Drawn]) -> list[list[Rows]]:
    """Vertex -> task -> rows."""
    done: list[list[Rows]] = []
    for drawn in drawing:
        if not drawn.edges:
            done.append([numbers(task, drawn.rows) for task in range(drawn.tasks)])
            continue
        inputs = [_arrives(done[source], kind, drawn.tasks) for source, kind in drawn.edges]
        tasks = [[arrived[task] for arrived in inputs] for task in range(drawn.tasks)]
        done.append([mix(task, tables) if any(tables) else [] for task, tables in enumerate(tasks)])
    return done


def _arrives(parts: list[Rows], kind: str, tasks: int) -> list[Rows]:
    everything = [row for part in parts for row in part]
    if kind in ("reduce", "allreduce"):
        return [sorted(everything, key=lambda row: (row[1], row[0]))[-1:]] * tasks
    if kind in (*TO_ALL, *TO_ONE):
        return [everything] * tasks
    if kind == "direct":
        return parts
    if kind == "keyed_direct":
        return [_summed(part) for part in parts]
    arrived: list[Rows] = [[] for _ in range(tasks)]
    if kind == "partition":
        for task, part in enumerate(parts):
            for row, pair in enumerate(part):
                arrived[((task << 40) + task + row) % tasks].append(pair)
        return arrived
    for pair in everything if kind == "keyed_partition" else _summed(everything):
        arrived[_task_of_key(pair[0], tasks)].append(pair)
    return arrived


def _summed(rows: Rows) -> Rows:
    sums: dict[int, int] = {}
    for k, v in rows:
        sums[k] = sums.get(k, 0) + v
    return list(sums.items())


def _task_of_key(key: int, tasks: int) -> int:
    hashes = reference.hash_rows(pl.DataFrame({"k": [key]}, schema={"k": pl.Int64}), 0)
    return int(reference.partition_ids_from_hashes(hashes, tasks)[0])
