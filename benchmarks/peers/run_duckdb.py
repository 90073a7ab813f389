"""DuckDB, 2 threads, in memory: from file to a temporary table (`create temp table ... as`), then its count. One process: no repartition."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import duckdb

from benchmarks.peers.serve import GROUP_BY, SUMS, Workload, serve


def workloads(db: duckdb.DuckDBPyConnection, data: str) -> dict[str, Workload]:
    """Name -> workload."""
    table, columns = f"'{data}/groups.parquet'", "sum(v) as s, avg(v) as m, count(*) as n"
    queries = {name: f"select {key}, {columns} from {table} group by {key}" for name, key in GROUP_BY.items()}
    queries["join"] = f"select l.k, l.v, r.w from '{data}/left.parquet' l join '{data}/right.parquet' r on l.k = r.k"
    queries["sort"] = f"select * from '{data}/order.parquet' order by k"
    return {name: Workload(_keep(db, query), _sums(db, name), lambda table: db.execute(f"drop table {table}")) for name, query in queries.items()}


def _keep(db: duckdb.DuckDBPyConnection, query: str) -> Callable[[], tuple[str, int]]:
    def run() -> tuple[str, int]:
        db.execute(f"create temp table kept as {query}")
        return "kept", int(_row(db, "select count(*) from kept")[0])

    return run


def _sums(db: duckdb.DuckDBPyConnection, name: str) -> Callable[[str], Mapping[str, float]]:
    def sums(table: str) -> Mapping[str, float]:
        found = dict(zip(SUMS[name], _row(db, "select " + ", ".join(f"sum({c})" for c in SUMS[name]) + f" from {table}"), strict=True))
        if name == "sort":
            height = _row(db, f"select count(*) from {table}")[0]
            found["first"], found["last"] = (_row(db, f"select k from {table} limit 1 offset {n}")[0] for n in (0, height - 1))
        return found

    return sums


def _row(db: duckdb.DuckDBPyConnection, query: str) -> tuple[float, ...]:
    row = db.execute(query).fetchone()
    assert row is not None
    return row


if __name__ == "__main__":
    connection = duckdb.connect(config={"threads": 2})
    serve(f"duckdb {duckdb.__version__}, 2 threads", workloads(connection, sys.argv[1]))
