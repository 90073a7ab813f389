"""Node arrays, user reductions and grids on threads as ranks."""

import pytest

from hpcflow.testing.array_contract import ARRAY_CHECKS
from hpcflow.testing.bsp import run_on_threads
from hpcflow.testing.grid_table_contract import GRID_TABLE_CHECKS
from tests.thorough import thorough


@pytest.mark.parametrize("size", [3, *map(thorough, (1, 2, 4, 7))])
@pytest.mark.parametrize("check", [*ARRAY_CHECKS, *GRID_TABLE_CHECKS], ids=lambda check: check.__name__)
def test_contract(check, size):
    check(lambda job: run_on_threads(job, size))
