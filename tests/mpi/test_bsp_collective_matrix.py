"""The table of collectives in docs/collectives.md, cell by cell, over MPI."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hpcflow.testing.collective_matrix import cells_of, check_call
from hpcflow.testing.program import run_program_mpi
from tests.thorough import thorough

pytestmark = pytest.mark.mpi
CELLS = cells_of((Path(__file__).parents[2] / "docs" / "collectives.md").read_text())


@pytest.mark.parametrize("debug", [False, thorough(True)], ids=["plain", "debug"])
@pytest.mark.parametrize("row", CELLS)
def test_calls_give_what_numpy_and_polars_give(row, debug):
    def job(ctx):
        for cell in CELLS[row]:
            for name in cell:
                check_call(name, ctx)

    run_program_mpi(job, debug_collectives=debug)


def test_tables_that_a_neighbour_takes_late_arrive_as_they_were_sent():
    """The rank that has sent goes on and packs other rows before its neighbour looks."""

    def job(ctx):
        grid = ctx.cartesian((0,), periodic=True)
        sent = pl.DataFrame({"n": np.arange(300_000) + ctx.rank})
        request = grid.start_tables({(1,): sent})
        for number in range(20):
            ctx.allgather(pl.DataFrame({"other": np.full(100_000, -number)}))
        left = (ctx.rank - 1) % ctx.size
        assert request.wait()[(-1,)]["n"].to_numpy().tolist() == (np.arange(300_000) + left).tolist()

    run_program_mpi(job)
