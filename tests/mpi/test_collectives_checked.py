"""CheckedComm over mpi4py's communicator: it stays an Intracomm, right programs run, wrong ones are told on every rank."""

import time

import numpy as np
import pytest

from hpcflow.bsp.checked_comm import CheckedComm
from hpcflow.errors import CollectiveMismatchError
from hpcflow.testing.intracomm_contract import FAMILIES, check_intracomm
from hpcflow.testing.ranks import run_mpi_ranks

pytestmark = [pytest.mark.mpi, pytest.mark.thorough]


def checked(body):
    def run(comm, MPI):
        wrapped = CheckedComm(comm)
        result = body(wrapped, MPI)
        wrapped.finish()
        return result

    return run_mpi_ranks(run)


def failures(body, **settings):
    """The message of every rank's error; "" where there was none."""

    def run(comm, MPI):
        wrapped = CheckedComm(comm, **settings)
        try:
            body(wrapped, MPI)
            wrapped.finish()
        except CollectiveMismatchError as error:
            return str(error)
        return ""

    return run_mpi_ranks(run)


@pytest.mark.parametrize("family", FAMILIES)
def test_contract(family):
    check_intracomm(checked, *FAMILIES[family])


def test_a_checked_communicator_is_an_intracomm():
    assert all(checked(lambda comm, MPI: isinstance(comm, MPI.Intracomm) and isinstance(comm.Split(0), CheckedComm)))


@pytest.mark.mpi(min_size=2)
def test_different_calls_are_told_with_their_lines_on_all_ranks():
    def body(comm, MPI):
        comm.barrier()
        if comm.rank == 1:
            comm.Bcast(np.ones(1), root=0)
        else:
            comm.Allreduce(np.ones(1), np.ones(1), op=MPI.MAX)

    for message in failures(body):
        assert "rank 1: Bcast(root=0) at " in message and ": Allreduce(op=MAX) at " in message and message.count("test_collectives_checked.py:") == 2


@pytest.mark.mpi(min_size=2)
def test_a_rank_that_has_left_is_told_on_all_ranks():
    def body(comm, MPI):
        if comm.rank != 0:
            comm.Barrier()

    for message in failures(body):
        assert "rank 0: has left the user's function" in message and "Barrier() at " in message


@pytest.mark.mpi(min_size=2)
def test_a_rank_that_never_comes_is_named_and_all_ranks_write_their_stacks(monkeypatch):
    reports = []
    monkeypatch.setattr("hpcflow.bsp.stack_alarm.write_report", reports.append)
    monkeypatch.setattr("hpcflow.bsp.stack_alarm._reported", 0.0)

    def body(comm, MPI):
        comm.barrier()
        if comm.rank == comm.size - 1:
            time.sleep(2.5)
        else:
            comm.allgather(1)

    messages = failures(body, collective_timeout_s=1)
    late = len(messages) - 1
    assert f"rank {late} did not come to collective call number 2 within 1 s" in messages[0]
    assert "last collective call was barrier() at" in messages[0]
    assert len(reports) == 1 and "in body" in reports[0]  # on the rank that sleeps too
