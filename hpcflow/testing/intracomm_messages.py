"""Bodies for `check_intracomm`: messages between two ranks."""

from __future__ import annotations

from typing import Any

import numpy as np


def messages_go_around_a_ring(comm: Any, MPI: Any) -> None:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    assert comm.sendrecv({"from": comm.rank}, dest=right, source=left) == {"from": left}
    got = np.empty(4)
    comm.Sendrecv(np.full(4, comm.rank, "f8"), right, 5, got, left, 5)
    assert (got == left).all()
    replaced = np.full(2, comm.rank)
    comm.Sendrecv_replace(replaced, right, 0, left, 0)
    assert (replaced == left).all()
    receive = comm.irecv(source=left, tag=9)
    comm.isend("object", dest=right, tag=9).wait()
    assert receive.wait() == "object"
    x = np.full(3, comm.rank)
    y = np.empty_like(x)
    MPI.Request.Waitall([comm.Irecv(y, left), comm.Isend(x, right)])
    assert (y == left).all()


def messages_of_a_pair_do_not_overtake(comm: Any, MPI: Any) -> None:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    sends = [comm.isend(index, dest=right, tag=index % 2) for index in range(20)]
    assert [comm.recv(source=left, tag=1) for _ in range(10)] == list(range(1, 20, 2))
    assert [comm.recv(source=left, tag=MPI.ANY_TAG) for _ in range(10)] == list(range(0, 20, 2))
    MPI.Request.waitall(sends)


def receives_are_matched_in_posting_order(comm: Any, MPI: Any) -> None:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    first, second = np.zeros(1, "i8"), np.zeros(1, "i8")
    requests = [comm.Irecv(first, MPI.ANY_SOURCE, MPI.ANY_TAG), comm.Irecv(second, left, 4)]
    comm.Barrier()
    comm.Send(np.array([1]), right, 4)
    comm.Send(np.array([2]), right, 4)
    MPI.Request.Waitall(requests)
    assert (first[0], second[0]) == (1, 2)


def any_source_and_any_tag_say_who_and_what(comm: Any, MPI: Any) -> None:
    if comm.rank > 0:
        comm.send(comm.rank * 10, dest=0, tag=comm.rank)
    else:
        seen = set()
        for _ in range(comm.size - 1):
            status = MPI.Status()
            value = comm.recv(source=MPI.ANY_SOURCE, tag=MPI.ANY_TAG, status=status)
            assert value == 10 * status.Get_source() == 10 * status.Get_tag() == 10 * status.source
            seen.add(status.Get_source())
        assert seen == set(range(1, comm.size))
    comm.Barrier()


def a_short_message_tells_its_count(comm: Any, MPI: Any) -> None:
    request = comm.Isend(np.arange(3, dtype="f8"), comm.rank, 1)
    status = MPI.Status()
    buffer = np.full(5, -1.0)
    comm.Recv(buffer, comm.rank, 1, status)
    request.Wait()
    assert status.Get_count(MPI.DOUBLE) == 3 and status.count == 24 and status.Get_elements(MPI.DOUBLE) == 3
    assert buffer.tolist() == [0, 1, 2, -1, -1]


def a_message_longer_than_the_buffer_is_an_error(comm: Any, MPI: Any) -> None:
    request = comm.Isend(np.zeros(8), comm.rank, 2)
    try:
        comm.Recv(np.zeros(4), comm.rank, 2)
    except MPI.Exception as error:
        assert error.Get_error_class() == MPI.ERR_TRUNCATE
    else:
        raise AssertionError("a message of 8 items fitted into 4")
    request.Wait()


def probe_sees_a_message_and_leaves_it(comm: Any, MPI: Any) -> None:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    assert not comm.Iprobe(source=left, tag=77)
    request = comm.Isend(np.arange(6, dtype="i4"), right, 7)
    status = MPI.Status()
    comm.Probe(MPI.ANY_SOURCE, 7, status)
    assert (status.Get_source(), status.Get_tag(), status.Get_count(MPI.INT)) == (left, 7, 6)
    assert comm.iprobe(left, 7)
    data = np.empty(status.Get_count(MPI.INT), "i4")
    comm.Recv(data, status.Get_source(), status.Get_tag())
    request.Wait()
    assert data.tolist() == list(range(6)) and not comm.Iprobe(left, 7)
    send = comm.isend({"n": comm.rank}, dest=right, tag=8)
    message = comm.mprobe(source=left, tag=8)
    assert message.recv() == {"n": left}
    send.wait()
    request = comm.Isend(np.full(3, comm.rank), right, 9)
    found = comm.Mprobe(left, 9)
    into = np.zeros(3, np.int64)
    status = MPI.Status()
    found.Irecv(into).Wait(status)
    request.Wait()
    assert into.tolist() == [left] * 3 and (status.Get_source(), status.Get_tag()) == (left, 9)


def nobody_takes_and_gives_nothing(comm: Any, MPI: Any) -> None:
    comm.send("lost", dest=MPI.PROC_NULL)
    comm.Send(np.zeros(3), MPI.PROC_NULL)
    status = MPI.Status()
    assert comm.recv(source=MPI.PROC_NULL, status=status) is None
    assert status.Get_source() == MPI.PROC_NULL
    x = np.full(2, 5.0)
    comm.Recv(x, MPI.PROC_NULL)
    request = comm.Irecv(x, MPI.PROC_NULL)
    request.Wait()
    assert (x == 5.0).all()
    comm.Sendrecv(np.zeros(2), MPI.PROC_NULL, 0, x, MPI.PROC_NULL, 0)
    assert (x == 5.0).all()


def synchronous_sends_wait_for_their_receiver(comm: Any, MPI: Any) -> None:
    if comm.size == 1:
        request = comm.issend("self", dest=0)
        assert comm.recv(source=0) == "self"
        request.wait()
        return
    if comm.rank == 0:
        request = comm.Issend(np.ones(1), 1, 6)
        assert not request.Test()  # rank 1 has not been told to receive yet
        comm.send("now", dest=1, tag=1)
        request.Wait()
        comm.ssend("object", dest=1, tag=6)
    elif comm.rank == 1:
        comm.recv(source=0, tag=1)
        x = np.zeros(1)
        comm.Recv(x, 0, 6)
        assert x[0] == 1 and comm.recv(source=0, tag=6) == "object"
    comm.Barrier()


def requests_are_waited_for_in_groups(comm: Any, MPI: Any) -> None:
    ranks = range(comm.size)
    receives = [comm.irecv(source=peer, tag=2) for peer in ranks]
    done, objects = MPI.Request.testall(receives)
    assert not done and objects is None
    sends = [comm.isend((comm.rank, peer), dest=peer, tag=2) for peer in ranks]
    found = {}
    for _ in ranks:
        index, value = MPI.Request.waitany(receives)
        found[index] = value
    assert found == {peer: (peer, comm.rank) for peer in ranks}
    assert MPI.Request.Waitany(receives) == MPI.UNDEFINED
    MPI.Request.waitall(sends)
    buffers = np.zeros((comm.size, 2), "i8")
    more = [comm.Irecv(buffers[peer], peer, 3) for peer in ranks]
    sends = [comm.Isend(np.array([comm.rank, peer]), peer, 3) for peer in ranks]
    statuses: list[Any] = []
    MPI.Request.Waitall(more, statuses)
    assert [status.Get_source() for status in statuses] == list(ranks)
    assert MPI.Request.Testall(more) and buffers.tolist() == [[peer, comm.rank] for peer in ranks]
    MPI.Request.Waitall(sends)


def a_receive_that_nothing_matched_can_be_cancelled(comm: Any, MPI: Any) -> None:
    x = np.zeros(1)
    request = comm.Irecv(x, comm.rank, 12)
    request.Cancel()
    status = MPI.Status()
    request.Wait(status)
    assert status.Is_cancelled()
    comm.Barrier()


def persistent_requests_are_started_each_round(comm: Any, MPI: Any) -> None:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    x, y = np.zeros(2, "i8"), np.zeros(2, "i8")
    requests = [comm.Recv_init(y, left, 3), comm.Send_init(x, right, 3)]
    for round_number in range(3):
        x[:] = [comm.rank, round_number]
        MPI.Prequest.Startall(requests)
        MPI.Request.Waitall(requests)
        assert y.tolist() == [left, round_number] and all(requests)
    requests[0].Start()
    requests[1].Start()
    for request in requests:
        request.Wait()
        request.Free()


def large_messages_arrive_whole(comm: Any, MPI: Any) -> None:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    x = np.arange(300_000) + comm.rank
    y = np.empty_like(x)
    comm.Sendrecv(x, right, 0, y, left, 0)
    np.testing.assert_array_equal(y, np.arange(300_000) + left)
    got = comm.sendrecv(x, dest=right, source=left)
    np.testing.assert_array_equal(got, y)


MESSAGE_CHECKS = (
    messages_go_around_a_ring,
    messages_of_a_pair_do_not_overtake,
    receives_are_matched_in_posting_order,
    any_source_and_any_tag_say_who_and_what,
    a_short_message_tells_its_count,
    a_message_longer_than_the_buffer_is_an_error,
    probe_sees_a_message_and_leaves_it,
    nobody_takes_and_gives_nothing,
    synchronous_sends_wait_for_their_receiver,
    requests_are_waited_for_in_groups,
    a_receive_that_nothing_matched_can_be_cancelled,
    persistent_requests_are_started_each_round,
    large_messages_arrive_whole,
)
