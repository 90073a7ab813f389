"""The in-process Comm under the contract suite."""

import pytest

from hpcflow.comm.in_process import open_group
from hpcflow.errors import WorkerLostError
from hpcflow.testing.comm_contract import COMM_CHECKS, check_comm
from hpcflow.testing.run import run_local
from tests.thorough import thorough


@pytest.mark.parametrize("workers", [thorough(1), thorough(2), 3, thorough(5)])
@pytest.mark.parametrize("check", COMM_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, workers):
    check_comm(lambda job: run_local(job, workers), check)


def test_the_receiver_gets_a_copy():
    first, second = open_group(2)
    payload = bytearray(b"abc")
    request = first.isend(payload, 1, 1)
    assert not request.test()
    incoming = second.poll()
    buffer = bytearray(incoming.size_bytes)
    assert incoming.receive_into(buffer).test()
    assert request.test()
    payload[:] = b"xyz"
    assert (bytes(buffer), incoming.source, incoming.tag) == (b"abc", 0, 1)


def test_an_aborted_group_refuses_everything():
    first, second = open_group(2)
    first.abort(7)
    with pytest.raises(WorkerLostError, match=r"rank 0.*exit code 7"):
        second.poll()


def test_a_buffer_that_is_too_small_is_refused():
    first, second = open_group(2)
    first.isend(b"abc", 1, 1)
    with pytest.raises(ValueError, match="2 bytes for a message of 3"):
        second.poll().receive_into(bytearray(2))
