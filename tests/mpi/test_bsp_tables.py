"""Table collectives over MPI: the contract suite, calls that block and calls that do not."""

import pytest

from hpcflow.testing.bsp import run_on_mpi
from hpcflow.testing.table_contract import BLOCKING, NONBLOCKING, TABLE_CHECKS

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("calls", [BLOCKING, NONBLOCKING], ids=lambda calls: calls.name)
@pytest.mark.parametrize("check", TABLE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, calls):
    check(run_on_mpi, calls)
