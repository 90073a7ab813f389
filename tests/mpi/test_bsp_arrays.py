"""Node arrays, user reductions and grids over MPI."""

import pytest

from hpcflow.testing.array_contract import ARRAY_CHECKS
from hpcflow.testing.bsp import run_on_mpi
from hpcflow.testing.grid_table_contract import GRID_TABLE_CHECKS

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("check", [*ARRAY_CHECKS, *GRID_TABLE_CHECKS], ids=lambda check: check.__name__)
def test_contract(check):
    check(run_on_mpi)
