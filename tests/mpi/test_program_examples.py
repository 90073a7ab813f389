"""The examples of distributed mode over MPI against their oracles."""

from __future__ import annotations

import pytest

from hpcflow.testing.program import run_program_mpi
from tests.program.oracles import PROGRAMS, SMALL, check, program

pytestmark = [pytest.mark.mpi, pytest.mark.thorough]


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_gives_what_one_process_computes(name):
    results = run_program_mpi(program(name).execute, arguments=SMALL[name])
    check(name, results[0])
    assert name == "logistic_regression" or all(result is None for result in results[1:])
