"""What exchanges of tables on Cartesian grids must do on any ranks: one suite for threads and for MPI.

check(lambda job: run_on_threads(job, size=3))        # for check in GRID_TABLE_CHECKS
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from polars.testing import assert_frame_equal

from hpcflow.bsp.grids import CartesianGrid
from hpcflow.errors import ConfigError, SchemaError, StepTimeoutError
from hpcflow.testing.array_contract import Check, Run, refused
from hpcflow.testing.bsp import EngineGroup
from hpcflow.testing.table_contract import same, share


def halos_of_rows_are_the_rows_within_reach(run: Run) -> None:
    """Points of the unit square (stretched to the grid) against a search among all points, wrapped along the periodic axis."""

    def job(group: EngineGroup) -> None:
        grid = CartesianGrid(group.comm, group.MPI, (0, 0), (True, False), group.pool)
        rng = np.random.default_rng(7)
        points = {f"axis {axis}": rng.random(300) * count for axis, count in enumerate(grid.dims)}
        whole = pl.DataFrame({**points, "name": [f"point {n}" for n in range(300)]})
        x, y = (pl.col(f"axis {axis}") for axis in range(2))
        box = [(float(place), place + 1.0) for place in grid.coords]
        mine = whole.filter(x >= box[0][0], x < box[0][1], y >= box[1][0], y < box[1][1])
        for corners in (True, False):
            found = grid.exchange_halo_rows(mine, ["axis 0", "axis 1"], box, (0.25, 0.5), corners=corners)
            for offset, rows in found.items():
                there = [(grid.coords[0] + offset[0]) % grid.dims[0], grid.coords[1] + offset[1]]
                wanted = whole.filter(x >= there[0], x < there[0] + 1, y >= there[1], y < there[1] + 1)
                for place, step, at, width in zip((x, y), offset, there, (0.25, 0.5), strict=True):
                    wanted = wanted.filter((place < at + width) if step > 0 else (place >= at + 1 - width) if step < 0 else True)
                assert_frame_equal(rows, wanted)
            expected = {
                (a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a or b) and (corners or not (a and b)) and grid.rank_at((a, b)) is not None
            }
            assert set(found) == expected
        nothing = grid.exchange_halo_rows(mine, ["axis 0", "axis 1"], box, 0)
        assert nothing == {}
        grid.close()

    run(job)


def every_type_travels_between_neighbours(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        grid = CartesianGrid(group.comm, group.MPI, (0,), True, group.pool)
        for step in (1, 2, -1):
            found = grid.exchange_tables({(step,): share(group.rank, group.size)})
            same(found[(-step,)], share((group.rank - step) % group.size, group.size))
        stream = pa.RecordBatchReader.from_stream(pl.DataFrame({"n": [group.rank]}))  # can be read once, and goes to two neighbours
        tables = grid.neighbor_allgather(stream)
        assert [table["n"].to_list() for table in tables if table is not None] == [[(group.rank + side) % group.size] for side in (-1, 1)]
        grid.close()

    run(job)


def exchanges_under_way_may_end_in_any_order(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        grid = CartesianGrid(group.comm, group.MPI, (0,), True, group.pool)

        def sent(rank: int, number: int) -> pl.DataFrame:
            return pl.DataFrame({"n": np.arange(number * 20_000) + rank})

        requests = [grid.start_tables({(1,): sent(group.rank, number), (-1,): sent(group.rank, 1)}) for number in (1, 3, 2)]
        halo = np.full(6, group.rank)
        arrays = grid.start_halo(halo)  # array messages on the same communicator
        for index in ((2, 0, 1), (0, 1, 2), (1, 2, 0))[group.rank % 3]:
            found = requests[index].wait(20)
            assert_frame_equal(found[(-1,)], sent((group.rank - 1) % group.size, (1, 3, 2)[index]))
            assert requests[index].test() == (True, found) or requests[index].test()[0]
        arrays.finish()
        assert halo[0] == (group.rank - 1) % group.size
        request = grid.ineighbor_allgather(sent(group.rank, 1))
        while not request.test()[0]:
            pass
        assert [table.height for table in request.wait() if table is not None] == [20_000, 20_000]
        grid.close()

    run(job)


def a_late_neighbour_is_named(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        grid = CartesianGrid(group.comm, group.MPI, (0,), False, group.pool)
        if group.rank == 1:
            request = grid.start_tables({(1,): share(0, 1)})
            with refused(StepTimeoutError, "missing from ranks [0]"):
                request.wait(0.05)
        group.comm.Barrier()
        if group.rank != 1:
            request = grid.start_tables({(1,): share(0, 1)})
        assert len(request.wait(20)) == (group.rank > 0)
        grid.close()

    run(job)


def wrong_calls_are_refused_before_anything_is_sent(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        grid = CartesianGrid(group.comm, group.MPI, (0, 1), False, group.pool)
        rows = pl.DataFrame({"x": [0.5], "y": [0.5]})
        wrong: tuple[tuple[type[Exception], str, Callable[[], Any]], ...] = (
            (ConfigError, "give a number for each", lambda: grid.exchange_tables({(1,): rows})),
            (ConfigError, "no offsets", lambda: grid.exchange_tables({})),
            (SchemaError, "tables of several schemas", lambda: grid.exchange_tables({(1, 0): rows, (-1, 0): rows.select("x")})),
            (ConfigError, "3 tables for 4 neighbours", lambda: grid.neighbor_alltoall([rows] * 3)),
            (ConfigError, "the grid has 2 axes", lambda: grid.exchange_halo_rows(rows, ["x"], [(0, 1)], 0.1)),
            (ConfigError, "too narrow for a halo of 2", lambda: grid.exchange_halo_rows(rows, ["x", "y"], [(0, 1), (0, 3)], 2)),
            (SchemaError, "no column 'z'", lambda: grid.exchange_halo_rows(rows, ["x", "z"], [(0, 1), (0, 1)], 1)),
        )
        for error, text, call in wrong:
            with refused(error, text):
                call()
        grid.close()

    run(job)


def another_schema_of_a_neighbour_is_told(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        grid = CartesianGrid(group.comm, group.MPI, (0,), True, group.pool)
        mine = pl.DataFrame({"a": [1]}, schema={"a": pl.Int32 if group.rank == 0 else pl.Int64})
        if group.size > 1 and group.rank in (0, 1):  # on a ring of two both hear of it, on longer ones the neighbour of rank 0 and rank 0
            with refused(SchemaError, "another rank sent a table of another schema"):
                grid.exchange_tables({(1,): mine})
        else:
            grid.exchange_tables({(1,): mine})
        grid.close()

    run(job)


GRID_TABLE_CHECKS: tuple[Check, ...] = (
    halos_of_rows_are_the_rows_within_reach,
    every_type_travels_between_neighbours,
    exchanges_under_way_may_end_in_any_order,
    a_late_neighbour_is_named,
    wrong_calls_are_refused_before_anything_is_sent,
    another_schema_of_a_neighbour_is_told,
)
