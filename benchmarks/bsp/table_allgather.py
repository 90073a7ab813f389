"""Table allgather against bare MPI_Allgatherv of the same bytes, in turns, in the same run.

    mpirun -n 2 python benchmarks/bsp/table_allgather.py --megabytes 64

Bare: warm NumPy buffers, counts in 64-byte units, from a send buffer into a receive buffer. Table: polars.DataFrame in, polars.DataFrame out, through
`ctx.allgather`'s own function. Prints one JSON line a table: byte rates (medians of the turns; slowest rank) and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from hpcflow.bsp import table_requests, tables
from hpcflow.comm.engine import Engine
from hpcflow.comm.mpi import import_mpi, open_mpi
from hpcflow.native import ArenaPool, FramePlan
from hpcflow.shuffle.exchange import ExchangeService
from hpcflow.testing.exchange_contract import DictStore


@dataclass(frozen=True)
class Figures:
    table: str
    ranks: int
    megabytes_per_rank: float
    turns: int
    bare_gb_s: float
    table_gb_s: float
    ratio: float
    """Byte rate of the table allgather over that of bare Allgatherv: medians of the turns."""
    request_gb_s: float
    """Of `iallgather(...).wait()`, through the exchange."""
    library: str


class Group:
    """This rank, for the collectives."""

    def __init__(self, engine: Engine, pool: ArenaPool, comm: Any) -> None:
        self.rank, self.size, self.comm, self.MPI, self.pool = engine.rank, engine.size, comm, import_mpi(), pool
        self.exchanges = ExchangeService(engine, pool, DictStore())
        self.engine_ranks = tuple(range(engine.size))
        self._steps = itertools.count(1)

    def next_step(self) -> int:
        return next(self._steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=64, help="a rank's table, MiB")
    parser.add_argument("--turns", type=int, default=30)
    options = parser.parse_args()
    pool = ArenaPool()
    communicators: list[Any] = []

    def open_both() -> Any:
        comm = open_mpi()
        communicators.append(comm.duplicate())
        return comm

    engine = Engine(open_both, pool.acquire)
    engine.start()
    group = Group(engine, pool, communicators[0])
    for name, table in _tables(options.megabytes, group.rank).items():
        figures = _measure(group, engine, name, table, options.turns)
        if group.rank == 0:
            print(json.dumps(asdict(figures)), flush=True)
    communicators[0].Free()
    engine.stop()


def _tables(megabytes: float, rank: int) -> dict[str, pl.DataFrame]:
    rows = int(megabytes * (1 << 20)) // 16
    generator = np.random.default_rng(rank)
    numbers = pl.DataFrame({"key": generator.integers(0, 1 << 40, rows), "value": generator.random(rows)})
    few = max(1, rows // 2)
    texts = pl.DataFrame({"id": numbers["key"][:few], "text": numbers["key"][:few].cast(pl.String) + " and a tail"})
    chunked = pl.concat([numbers[: rows // 3], numbers[rows // 3 :]], rechunk=False)
    return {"numbers": numbers, "numbers in 2 chunks": chunked, "texts": texts}


def _measure(group: Group, engine: Engine, name: str, table: pl.DataFrame, turns: int) -> Figures:
    comm, module = group.comm, group.MPI
    units = FramePlan(table.rechunk()).sizes[0] // 64
    counts = np.array(comm.allgather(units))
    source = np.ones(units * 64, np.uint8)
    target = np.empty(int(counts.sum()) * 64, np.uint8)
    unit = module.BYTE.Create_contiguous(64).Commit()
    spec = [target, counts.tolist(), (np.cumsum(counts) - counts).tolist(), unit]
    target[:] = 0

    def bare() -> None:
        comm.Allgatherv([source, units, unit], spec)

    def framed() -> None:
        assert tables.allgather(group, table).width == table.width

    def requested() -> None:
        engine.set_active(True)
        assert table_requests.iallgather(group, table).wait(100).width == table.width
        engine.set_active(False)

    seconds: dict[Any, list[float]] = {bare: [], framed: [], requested: []}
    for turn in range(turns + 2):
        for call, found in seconds.items():
            if call is requested and turn % 5:
                continue
            comm.Barrier()
            started = time.perf_counter()
            call()
            took = comm.allreduce(time.perf_counter() - started, op=module.MAX)
            if turn >= 2 or call is requested:
                found.append(took)
    unit.Free()
    size = float(counts.sum()) * 64 / 1e9
    rates = {call: size / statistics.median(found) for call, found in seconds.items()}
    return Figures(
        table=name,
        ranks=group.size,
        megabytes_per_rank=round(units * 64 / (1 << 20), 1),
        turns=turns,
        bare_gb_s=round(rates[bare], 2),
        table_gb_s=round(rates[framed], 2),
        ratio=round(rates[framed] / rates[bare], 2),
        request_gb_s=round(rates[requested], 2),
        library=engine.comm.facts.mpi_library,  # type: ignore[attr-defined]
    )


if __name__ == "__main__":
    main()
