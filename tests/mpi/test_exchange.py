"""The exchange over MPI: mpirun -n 3 python -m pytest --with-mpi tests/mpi."""

from functools import partial
from typing import get_args

import pytest

from hpcflow.shuffle.exchange_spec import TransportName
from hpcflow.testing.exchange_contract import EXCHANGE_CHECKS
from hpcflow.testing.run import run_mpi

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("transport", get_args(TransportName))
@pytest.mark.parametrize("check", EXCHANGE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, transport):
    check(lambda job: run_mpi(partial(job, transport=transport)))
