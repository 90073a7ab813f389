"""The table of collectives in docs/collectives.md, cell by cell, over MPI."""

from pathlib import Path

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
