"""Tasks that are tried again, between processes: mpirun -n 3 python -m pytest --with-mpi tests/mpi."""

import tempfile
from pathlib import Path

import pytest

from hpcflow.testing.retries import check_retries
from hpcflow.testing.session import run_session_mpi

pytestmark = pytest.mark.mpi


def test_a_deterministic_function_is_tried_again_and_rows_and_sums_count_once():
    def job(session):  # on the driver only; the other ranks are on its host
        with tempfile.TemporaryDirectory() as folder:
            check_retries(session, Path(folder))

    run_session_mpi(job, step_timeout_s=30)
