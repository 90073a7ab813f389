"""The examples that mix dataflow and MPI code, between processes: mpirun -n 3 python -m pytest --with-mpi tests/mpi."""

import pytest

from hpcflow.testing.session import run_session_mpi
from tests.docs.test_bsp_examples import check_k_means, check_solver
from tests.program.oracles import load

pytestmark = pytest.mark.mpi


def test_k_means():
    example = load("k_means")  # on every rank: what one of them or an earlier world has compiled, the others find on disk
    run_session_mpi(lambda session: check_k_means(session, example), timeout_s=90, step_timeout_s=30)


@pytest.mark.thorough
def test_the_mixed_solver():
    example = load("mixed_solver")
    run_session_mpi(lambda session: check_solver(session, example), timeout_s=90, step_timeout_s=30)
