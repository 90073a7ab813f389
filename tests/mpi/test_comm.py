"""The MPI Comm under the contract suite: mpirun -n 3 python -m pytest --with-mpi tests/mpi."""

import pytest

from hpcflow.testing.comm_contract import COMM_CHECKS, check_comm
from hpcflow.testing.run import run_mpi

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("check", COMM_CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check_comm(run_mpi, check)
