"""Node arrays, user reductions and grids over MPI."""

import pytest

from hpcflow.testing.array_contract import ARRAY_CHECKS
from hpcflow.testing.bsp import run_on_mpi

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("check", ARRAY_CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check(run_on_mpi)
