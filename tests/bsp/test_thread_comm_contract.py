"""ThreadComm under the contract suite that mpi4py's communicator passes too (tests/mpi/test_collectives.py)."""

import pytest

from hpcflow.testing.intracomm_contract import INTRACOMM_CHECKS, check_intracomm
from hpcflow.testing.ranks import run_threads
from tests.thorough import thorough


@pytest.mark.parametrize("ranks", [3, *map(thorough, (1, 2, 7))])
@pytest.mark.parametrize("check", INTRACOMM_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, ranks):
    check_intracomm(lambda body: run_threads(body, ranks, timeout_s=30), check)
