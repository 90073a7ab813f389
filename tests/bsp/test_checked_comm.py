"""CheckedComm on threads: right programs run as before, wrong ones are told what every rank has entered, and where."""

import threading

import numpy as np
import pytest

from hpcflow.bsp.checked_comm import CheckedComm
from hpcflow.bsp.thread_comm import ThreadComm
from hpcflow.errors import CollectiveAbortedError, CollectiveMismatchError
from hpcflow.testing.intracomm_contract import INTRACOMM_CHECKS, check_intracomm
from hpcflow.testing.ranks import run_threads


def checked(body, ranks=3, **settings):
    def run(comm, MPI):
        wrapped = CheckedComm(comm, **settings)
        result = body(wrapped, MPI)
        wrapped.finish()
        return result

    return run_threads(run, ranks, timeout_s=30)


def failures(body, ranks=3, **settings):
    """The message of every rank's error; "" where there was none."""

    def run(comm, MPI):
        wrapped = CheckedComm(comm, **settings)
        try:
            body(wrapped, MPI)
            wrapped.finish()
        except (CollectiveMismatchError, CollectiveAbortedError) as error:
            return str(error)
        return ""

    return run_threads(run, ranks, timeout_s=30)


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("check", INTRACOMM_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, ranks):
    check_intracomm(lambda body: checked(body, ranks), check)


def test_a_checked_communicator_is_of_the_class_that_it_checks():
    assert (
        checked(lambda comm, MPI: isinstance(comm, ThreadComm) and isinstance(comm, CheckedComm) and isinstance(comm.Dup(), CheckedComm))
        == [True] * 3
    )


def test_different_calls_are_told_with_their_lines_on_all_ranks():
    def body(comm, MPI):
        comm.barrier()
        if comm.rank == 1:
            comm.bcast(1, root=0)
        else:
            comm.Allreduce(np.ones(1), np.ones(1))

    for message in failures(body):
        assert "number 2" in message
        assert "ranks 0, 2: Allreduce(op=SUM) at " in message and "rank 1: bcast(root=0) at " in message
        assert message.count("test_checked_comm.py:") == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda comm, MPI: comm.bcast(1, root=comm.rank % 2),
        lambda comm, MPI: comm.allreduce(1, op=MPI.MAX if comm.rank else MPI.MIN),
        lambda comm, MPI: comm.Allreduce(np.ones(1), np.ones(1), MPI.PROD if comm.rank else MPI.SUM),
        lambda comm, MPI: comm.Barrier() if comm.rank else comm.Ibarrier().Wait(),
        lambda comm, MPI: comm.Dup() if comm.rank else comm.Split(0),
    ],
    ids=["root", "op", "op of buffers", "blocking", "communicator"],
)
def test_a_difference_in_an_argument_is_found(call):
    messages = failures(call, ranks=2)
    assert all("different collective calls" in message for message in messages) and messages[0] == messages[1]


def test_ranks_in_different_rounds_of_a_loop_are_found_by_their_lines():
    def body(comm, MPI):
        for _ in range(2 + comm.rank % 2):  # rank 1 goes round once more
            comm.allreduce(1)
        comm.allreduce(2)

    for message in failures(body, ranks=2):
        assert "number 3" in message and "from different lines" in message
    assert all("has left" in message for message in failures(body, ranks=2, same_sites=False))


def test_a_root_may_make_the_call_in_a_branch_of_its_own():
    def body(comm, MPI):
        if comm.rank == 0:
            return comm.bcast("all", root=0)
        return comm.bcast(None, root=0)

    assert checked(body) == ["all"] * 3


def test_a_rank_that_has_left_is_told_to_those_that_wait_and_to_itself():
    def body(comm, MPI):
        if comm.rank != 2:
            comm.Barrier()

    for message in failures(body):
        assert "rank 2: has left the user's function" in message and "ranks 0, 1: Barrier() at " in message


def test_a_rank_that_never_comes_is_named_with_its_last_call_and_all_stacks(monkeypatch):
    reports = []
    monkeypatch.setattr("hpcflow.bsp.stack_alarm.write_report", reports.append)
    monkeypatch.setattr("hpcflow.bsp.stack_alarm._reported", 0.0)

    told = threading.Semaphore(0)

    def body(comm, MPI):
        comm.barrier()
        if comm.rank == 1:
            assert told.acquire(timeout=20) and told.acquire(timeout=20)  # both others have said what they miss
            return
        try:
            comm.allgather(1)
        finally:
            told.release()

    messages = failures(body, collective_timeout_s=0.5)
    assert "rank 1 did not come to collective call number 2 within 0.5 s" in messages[0]
    assert "ranks 0, 2: allgather() at " in messages[0] and "rank 1: not there yet; its last collective call was Barrier() at " in messages[
        0
    ].replace("barrier", "Barrier")
    assert len(reports) == 1 and "test_checked_comm.py" in reports[0]


def test_a_nonblocking_call_does_not_wait_for_the_others():
    def body(comm, MPI):
        if comm.rank == 0:
            request = comm.Ibarrier()
            assert not request.Test()
            comm.send("go", dest=1)
        else:
            assert comm.recv(source=0) == "go"
            request = comm.Ibarrier()
        request.Wait()
        return bool(request)

    assert checked(body, ranks=2, same_sites=False) == [False, False]


def test_a_failure_of_one_rank_ends_the_wait_of_the_others():
    def body(comm, MPI):
        if comm.rank == 1:
            raise ZeroDivisionError("rank 1")
        comm.Barrier()

    with pytest.raises(ZeroDivisionError):
        checked(body)


def test_communicators_made_from_a_checked_one_are_checked():
    def body(comm, MPI):
        part = comm.Split(comm.rank % 2, comm.rank)
        if part.size == 2 and part.rank == 1:
            part.bcast(1)
        elif part.size == 2:
            part.allgather(1)

    with pytest.raises(CollectiveMismatchError, match=r"rank 0: allgather\(\) at .*\n  rank 1: bcast\(root=0\) at "):
        checked(body)
