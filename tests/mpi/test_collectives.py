"""mpi4py's communicator under the contract suite of ThreadComm: what a program may rely on is what both do."""

import pytest

from hpcflow.testing.intracomm_contract import INTRACOMM_CHECKS, check_intracomm
from hpcflow.testing.ranks import run_mpi_ranks

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("check", INTRACOMM_CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check_intracomm(run_mpi_ranks, check)
