"""Loops in bodies of loops, and loops that run as one, between processes: mpirun -n 3 python -m pytest --with-mpi tests/mpi."""

import pytest

from hpcflow.testing.session import run_session_mpi
from tests.api import test_nested_loops as cases
from tests.api.test_fused_loops import test_loops_that_run_together_give_what_they_give_alone as fused

pytestmark = pytest.mark.mpi
CASES = [
    cases.test_loops_of_two_levels_are_those_written_out,
    cases.test_both_levels_have_conditions_of_their_own,
    cases.test_loops_after_each_other_and_three_levels,
    cases.test_a_bsp_step_loops_within_the_body,
    fused,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("test_"))
def test_as_in_one_process(case):
    run_session_mpi(case, timeout_s=90, step_timeout_s=60)
