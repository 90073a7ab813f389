"""Table and array calls as methods of Context: in programs, in bsp steps of a session, and in debug mode."""

import pytest

from hpcflow.testing.context_contract import every_call
from hpcflow.testing.program import run_program
from hpcflow.testing.session import run_session
from tests.thorough import thorough

SIZES = [3, *map(thorough, (1, 2, 7))]


@pytest.mark.parametrize("size", SIZES)
def test_in_a_program(size):
    run_program(every_call, workers=size)


@pytest.mark.parametrize("master", ["dedicated", "shared"])
@pytest.mark.parametrize("size", SIZES)
def test_in_bsp_steps_one_after_another(size, master):
    def job(session):
        for _ in range(2):
            session.range(10).bsp(every_call).collect()

    run_session(job, workers=size, master=master)


def test_in_debug_mode():
    run_program(every_call, workers=3, debug_collectives=True)
