"""TeraSort as dataflow over MPI."""

import pytest

from hpcflow.testing.session import run_session_mpi
from tests.program.oracles import load

pytestmark = [pytest.mark.mpi, pytest.mark.thorough]
terasort = load("terasort")  # on every rank: tasks refer to its functions by name


def test_the_dataflow_variant_sorts():
    verdict = run_session_mpi(lambda session: terasort.sort_as_dataflow(session, 5, 20_000), timeout_s=90)
    assert verdict.startswith("20000 records in order")
