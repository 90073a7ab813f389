"""The table of collectives in docs/collectives.md, cell by cell, on threads as ranks; and that it has no holes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hpcflow.errors import SchemaError
from hpcflow.testing.collective_matrix import ALL_CALLS, cells_of, check_call
from hpcflow.testing.program import run_program
from hpcflow.testing.session import run_session
from tests.thorough import thorough

CELLS = cells_of((Path(__file__).parents[2] / "docs" / "collectives.md").read_text())


def test_every_collective_is_there_for_arrays_and_tables_with_and_without_blocking():
    for row, cells in CELLS.items():
        assert len(cells) == 4 and all(cells), f"{row}: a cell without a call"
    assert {"barrier", "broadcast", "scatter", "gather", "allgather", "all to all", "reduce", "allreduce"} <= CELLS.keys()
    assert {"reduce and scatter", "scan", "neighbours", "halo"} <= CELLS.keys()
    assert {name for cells in CELLS.values() for cell in cells for name in cell} == set(ALL_CALLS)


@pytest.mark.parametrize("debug", [False, thorough(True)], ids=["plain", "debug"])
@pytest.mark.parametrize("size", [3, *map(thorough, (1, 2, 4, 7))])
@pytest.mark.parametrize("row", CELLS)
def test_calls_give_what_numpy_and_polars_give(row, size, debug):
    def job(ctx):
        for cell in CELLS[row]:
            for name in cell:
                check_call(name, ctx)

    run_program(job, workers=size, debug_collectives=debug)


def test_arrays_given_as_tables_are_told_where_they_go():
    def job(ctx):
        with pytest.raises(SchemaError, match=r"numpy.ndarray is no table: .*ctx\.comm\.Allgather"):
            ctx.allgather(np.arange(3))

    run_program(job, workers=1)


def test_a_grid_that_is_left_open_is_closed_with_the_program_once_its_tables_have_left():
    grids = []

    def job(ctx):
        grid = ctx.cartesian((0,), periodic=True)
        grids.append(grid)
        grid.exchange_tables({(1,): pl.DataFrame({"n": range(100_000)})})
        closed = ctx.cartesian((0,))
        closed.close()
        closed.close()
        ctx.cartesian((0,))
        assert len(ctx._grids) == 2

    run_program(job, workers=3)
    assert all(grid.closed and not any(grid.sends) for grid in grids)


def test_the_calls_work_in_a_bsp_step():
    def every(ctx, table):
        for name in ALL_CALLS:
            check_call(name, ctx)

    run_session(lambda session: session.range(3).bsp(every).collect(), workers=3)
