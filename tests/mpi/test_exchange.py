"""The exchange over MPI: mpirun -n 3 python -m pytest --with-mpi tests/mpi."""

import pytest

from hpcflow.testing.exchange_contract import EXCHANGE_CHECKS
from hpcflow.testing.run import run_mpi

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("check", EXCHANGE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check(run_mpi)
