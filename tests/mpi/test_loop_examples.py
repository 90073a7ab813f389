"""The examples that loop, between processes: mpirun -n 3 python -m pytest --with-mpi tests/mpi."""

import pytest

from hpcflow.testing.session import run_session_mpi
from tests.docs.test_examples import load
from tests.docs.test_loop_examples import check_components, check_page_rank

pytestmark = [pytest.mark.mpi, pytest.mark.thorough]


def test_page_rank():
    run_session_mpi(lambda session: check_page_rank(session, load("page_rank")), timeout_s=90, step_timeout_s=60)


def test_connected_components():
    run_session_mpi(lambda session: check_components(session, load("connected_components")), timeout_s=90, step_timeout_s=60)
