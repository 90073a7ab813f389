"""mpi4py's communicator under the contract suite of ThreadComm: what a program may rely on is what both do."""

import pytest

from hpcflow.testing.intracomm_contract import FAMILIES, check_intracomm
from hpcflow.testing.ranks import run_mpi_ranks

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("family", FAMILIES)
def test_contract(family):
    check_intracomm(run_mpi_ranks, *FAMILIES[family])
