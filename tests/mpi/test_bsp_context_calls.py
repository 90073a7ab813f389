"""Table and array calls as methods of Context over MPI: in programs, in bsp steps of a session, and in debug mode."""

import pytest

from hpcflow.testing.context_contract import every_call
from hpcflow.testing.program import run_program_mpi
from hpcflow.testing.session import run_session_mpi

pytestmark = [pytest.mark.mpi, pytest.mark.thorough]


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_in_a_program(debug):
    run_program_mpi(every_call, debug_collectives=debug)


def test_in_bsp_steps_one_after_another():
    def job(session):
        for _ in range(2):
            session.range(10).bsp(every_call).collect()

    run_session_mpi(job)
