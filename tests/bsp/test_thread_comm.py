"""What ThreadComm promises beyond MPI: an abort ends every call, mismatches are seen, reductions are in rank order, mpi4py's constants are taken."""

import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from hpcflow.bsp import thread_mpi as MPI
from hpcflow.bsp.thread_comm import open_thread_group
from hpcflow.errors import CollectiveAbortedError, CollectiveMismatchError
from hpcflow.testing.ranks import run_threads

WAITS = {
    "Barrier": lambda comm: comm.Barrier(),
    "allreduce": lambda comm: comm.allreduce(1),
    "Allreduce": lambda comm: comm.Allreduce(np.ones(1), np.ones(1)),
    "recv": lambda comm: comm.recv(source=1),
    "Recv": lambda comm: comm.Recv(np.ones(1), 1),
    "Probe": lambda comm: comm.Probe(1),
    "ssend": lambda comm: comm.ssend(1, dest=1),
    "Wait": lambda comm: comm.Irecv(np.ones(1), 1).Wait(),
    "Waitany": lambda comm: MPI.Request.Waitany([comm.irecv(source=1), comm.Ibarrier()]),
    "Waitsome": lambda comm: MPI.Request.Waitsome([comm.irecv(source=1)]),
    "Split": lambda comm: comm.Split(0),
    "Win": lambda comm: MPI.Win.Allocate_shared(8, comm=comm),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_an_abort_ends_every_wait_and_every_later_call(wait):
    zero, one = open_thread_group(2)
    caught = []

    def run():
        for call in (wait, lambda comm: comm.send(1, dest=1), lambda comm: comm.Iprobe(1), lambda comm: comm.Ibarrier()):
            with pytest.raises(CollectiveAbortedError) as error:
                call(zero)
            caught.append(error.value)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(0.02)
    failure = ValueError("bad input")
    one.group.abort(failure, 1)
    one.group.abort(KeyError("later"), 0)
    thread.join(10)
    assert len(caught) == 4
    assert all(error.first_failure is failure and error.__cause__ is failure for error in caught)
    assert "rank 1 has failed" in str(caught[0]) and "ValueError: bad input" in str(caught[0])
    assert str(pickle.loads(pickle.dumps(caught[0]))) == str(caught[0])


def test_abort_of_one_communicator_reaches_those_made_from_it():
    def body(comm, MPI):
        part = comm.Split(comm.rank % 2)
        if comm.rank == 2:
            raise ZeroDivisionError("rank 2")
        part.recv(source=0)

    with pytest.raises(ZeroDivisionError):
        run_threads(body, 3, timeout_s=10)


def test_abort_by_the_mpi_name():
    def body(comm, MPI):
        with pytest.raises(CollectiveAbortedError, match=r"rank 1 called Abort\(3\)"):
            comm.Abort(3) if comm.rank == 1 else comm.Barrier()

    run_threads(body, 3)


def test_different_calls_raise_on_all_ranks():
    def body(comm, MPI):
        with pytest.raises(CollectiveMismatchError, match=r"rank 0: Bcast\(root=0\); rank 1: allreduce; rank 2: allreduce"):
            comm.Bcast(np.ones(1)) if comm.rank == 0 else comm.allreduce(1)
        with pytest.raises(CollectiveMismatchError, match="root=1"):
            comm.bcast(1, root=comm.rank % 2)
        return comm.allreduce(1)

    assert run_threads(body, 3) == [3, 3, 3]


@pytest.mark.parametrize(
    ("call", "error_class"),
    [
        (lambda comm: comm.Bcast(np.ones(2 + comm.rank)), MPI.ERR_TRUNCATE),
        (lambda comm: comm.Allreduce(np.ones(2 + comm.rank), np.ones(2 + comm.rank)), MPI.ERR_TRUNCATE),
        (lambda comm: comm.Allreduce(*[np.ones(2, "f4" if comm.rank else "f8") for _ in range(2)]), MPI.ERR_TYPE),
        (lambda comm: comm.Allreduce(np.ones(2), np.ones(2), op=MPI.BAND), MPI.ERR_OP),
        (lambda comm: comm.Allreduce(np.ones(2), np.ones(2), op=MPI.MAXLOC), MPI.ERR_OP),
        (lambda comm: comm.Allgather(np.ones(2 + comm.rank), np.ones(4)), MPI.ERR_TRUNCATE),
        (lambda comm: comm.Alltoallv([np.ones(4), [2, 2]], [np.ones(4), [2, 1]]), MPI.ERR_TRUNCATE),
        (lambda comm: comm.Bcast([np.ones(2), 3, MPI.DOUBLE]), MPI.ERR_BUFFER),
        (lambda comm: comm.Create_cart([3]), MPI.ERR_DIMS),
    ],
)
def test_arguments_that_do_not_fit_raise_on_all_ranks(call, error_class):
    def body(comm, MPI):
        with pytest.raises(MPI.Exception) as error:
            call(comm)
        assert pickle.loads(pickle.dumps(error.value)).Get_error_class() == error_class
        return error.value.Get_error_class()

    assert run_threads(body, 2) == [error_class] * 2


def test_an_error_in_a_users_operator_raises_on_all_ranks_and_the_group_goes_on():
    def body(comm, MPI):
        def fails(left, right):
            raise LookupError("no order")

        with pytest.raises(LookupError, match="no order"):
            comm.allreduce(comm.rank, op=fails)
        return comm.allreduce(1)

    assert run_threads(body, 3) == [3, 3, 3]


def test_float_sums_are_folded_in_rank_order_whoever_comes_last():
    data = np.random.default_rng(5).standard_normal((7, 50)) * 10.0 ** np.arange(-3, 4)[:, None]
    expected = data[0].copy()
    for row in data[1:]:
        expected += row

    def body(comm, MPI):
        got = np.empty(50)
        for round_ in range(20):
            time.sleep(0.0002 * ((comm.rank + round_) % 7))
            comm.Allreduce(data[comm.rank], got)
            assert got.tobytes() == expected.tobytes()

    run_threads(body, 7)


def test_objects_that_do_not_pickle_are_refused_where_they_are_sent():
    def body(comm, MPI):
        with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
            comm.allgather(lambda: 1)

    run_threads(body, 2)


def test_a_communicator_does_not_travel():
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(open_thread_group(1)[0])


def test_a_freed_communicator_is_refused():
    def body(comm, MPI):
        other = comm.Dup()
        other.Free()
        with pytest.raises(MPI.Exception, match="freed"):
            other.Barrier()

    run_threads(body, 2)


def test_names_that_are_not_supported_say_what_to_do():
    with pytest.raises(AttributeError, match=r"ctx\.comm"):
        _ = MPI.COMM_WORLD
    with pytest.raises(AttributeError, match="run under mpirun"):
        _ = MPI.File


def test_an_allreduce_of_three_ranks_takes_well_under_a_millisecond():
    def body(comm, MPI):
        x = np.ones(16)
        comm.Allreduce(MPI.IN_PLACE, x, op=MPI.MAX)
        rounds = []
        for _ in range(50):  # the best of fifty: other programs run on this machine
            started = time.perf_counter()
            for _ in range(10):
                comm.Allreduce(MPI.IN_PLACE, x, op=MPI.MAX)
            rounds.append((time.perf_counter() - started) / 10)
        return min(rounds)

    assert max(run_threads(body, 3)) < 1e-3


FOREIGN = """
import mpi4py; mpi4py.rc.initialize = True
import numpy as np
from mpi4py import MPI
from hpcflow.bsp import thread_mpi
from hpcflow.testing.ranks import run_threads
def body(comm, ours):
    x = np.full(3, comm.rank + 1.0)
    comm.Allreduce(MPI.IN_PLACE, x, op=MPI.SUM)
    assert (x == 6).all()
    comm.Bcast([x, MPI.DOUBLE], root=0)
    assert comm.allreduce(comm.rank, op=MPI.MAX) == 2 and comm.allreduce((1.0, comm.rank), op=MPI.MAXLOC) == (1.0, 0)
    user = MPI.Op.Create(lambda a, b, t: np.copyto(np.frombuffer(b, "f8"), 2 * np.frombuffer(a, "f8") + np.frombuffer(b, "f8")))
    got = np.empty(1); comm.Allreduce(np.array([1.0]), got, op=user)
    assert got[0] == 7.0, got  # 2 (2 * 1 + 1) + 1
    comm.send("x", dest=(comm.rank + 1) % 3); comm.send("lost", dest=MPI.PROC_NULL)
    status = MPI.Status()
    assert comm.recv(source=MPI.ANY_SOURCE, tag=MPI.ANY_TAG, status=status) == "x"
    assert status.Get_source() == (comm.rank - 1) % 3
    comm.Isend([np.arange(4, dtype="i4"), MPI.INT], comm.rank).Wait(); comm.Probe(MPI.ANY_SOURCE, MPI.ANY_TAG, status)
    assert status.Get_count(MPI.INT) == 4
    comm.Recv([np.empty(4, "i4"), MPI.INT32_T], MPI.ANY_SOURCE)
    only = comm.Split(0 if comm.rank else MPI.UNDEFINED)
    assert (only == MPI.COMM_NULL) is (comm.rank == 0)
    assert comm.Split_type(MPI.COMM_TYPE_SHARED).size == 3
    pairs = np.zeros(1, np.dtype([("v", "f8"), ("i", "i4")], align=True)); pairs["v"], pairs["i"] = -comm.rank, comm.rank
    best = np.zeros_like(pairs); comm.Allreduce([pairs, MPI.DOUBLE_INT], [best, MPI.DOUBLE_INT], op=MPI.MINLOC)
    assert best["i"][0] == 2
run_threads(body, 3)
same = [name for name in thread_mpi._datatypes.NAMED if getattr(MPI, name) != MPI.DATATYPE_NULL]
for name in same:
    ours, theirs = getattr(thread_mpi, name), getattr(MPI, name)
    assert (ours.Get_size(), ours.Get_extent()) == (theirs.Get_size(), theirs.Get_extent()), name
assert len(same) > 50
assert not [name for name in dir(thread_mpi) if name.isupper() and not hasattr(MPI, name)]
for nodes in range(1, 65):
    for dims in (1, 2, 3, 4):
        assert thread_mpi.Compute_dims(nodes, dims) == MPI.Compute_dims(nodes, dims), (nodes, dims)
print("same")
"""


def test_mpi4pys_own_constants_types_operators_and_statuses_are_taken():
    pytest.importorskip("mpi4py")
    answer = subprocess.run([sys.executable, "-c", FOREIGN], capture_output=True, text=True, timeout=60, check=False)
    assert answer.stdout.strip() == "same", answer.stderr


def test_nothing_here_imports_mpi4py():
    code = "import sys, hpcflow.bsp.thread_mpi, hpcflow.bsp.checked_comm; print('mpi4py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.strip() == "False"
