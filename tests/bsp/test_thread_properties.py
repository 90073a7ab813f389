"""Properties of ThreadComm's parts on generated inputs: derived types, blocks, matching of messages, reductions, grids."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.bsp import thread_mpi as MPI
from hpcflow.bsp.thread_comm import open_thread_group
from hpcflow.bsp.threads.buffers import span, varied_blocks
from hpcflow.testing.ranks import run_threads

DTYPES = st.sampled_from(["i1", "u2", "i4", "f8", "c16"])


@st.composite
def subarrays(draw):
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    starts = [draw(st.integers(0, size - 1)) for size in sizes]
    parts = [draw(st.integers(1, size - start)) for size, start in zip(sizes, starts, strict=True)]
    return sizes, parts, starts


@given(subarrays(), DTYPES, st.sampled_from("CF"))
def test_a_subarray_picks_what_slicing_picks(shape, code, order):
    sizes, parts, starts = shape
    array = np.arange(math.prod(sizes)).astype(code).reshape(sizes, order=order)
    where = tuple(slice(start, start + part) for start, part in zip(starts, parts, strict=True))
    kind = MPI.Datatype(code).Create_subarray(sizes, parts, starts, MPI.ORDER_C if order == "C" else MPI.ORDER_F).Commit()
    packed = span([array, 1, kind], False).pack().copy()
    np.testing.assert_array_equal(packed.view(code), array[where].ravel(order=order))
    target = np.zeros(sizes, code, order=order)
    span([target, 1, kind], True).fill(packed)
    expected = np.zeros(sizes, code, order=order)
    expected[where] = array[where]
    np.testing.assert_array_equal(target, expected)
    assert kind.Get_size() == array[where].nbytes and kind.Get_extent() == (0, array.nbytes)


@given(st.integers(0, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), DTYPES)
def test_vectors_of_vectors_pick_what_indices_pick(count, block, gap, repeats, code):
    kind = MPI.Datatype(code).Create_vector(count, block, block + gap)
    picked = [item * (block + gap) + index for item in range(count) for index in range(block)]
    length = max(picked, default=-1) + 1
    assert kind.Get_extent() == (0, length * np.dtype(code).itemsize) and kind.Get_size() == len(picked) * np.dtype(code).itemsize
    array = np.arange(length * repeats).astype(code)
    expected = [array[length * repeat + index] for repeat in range(repeats) for index in picked]
    np.testing.assert_array_equal(span([array, repeats, kind], False).pack().view(code), np.array(expected, code))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_blocks_of_all_spellings_are_the_same(counts, random):
    array = np.arange(float(sum(counts)))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).tolist()
    spellings = [
        [array, counts],
        [array, (counts, starts)],
        [array, counts, "d"],
        (array, counts, starts, MPI.DOUBLE),
        [array, (counts, None), MPI.DOUBLE],
    ]
    spec = random.choice(spellings)
    blocks = varied_blocks(spec, len(counts), False)
    got = [blocks.block(index).pack().view("f8").tolist() for index in range(len(counts))]
    assert got == [array[start : start + count].tolist() for start, count in zip(starts, counts, strict=True)]


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=3, max_size=3), DTYPES)
def test_alltoallv_delivers_any_matrix_of_counts(matrix, code):
    def body(comm, MPI):
        send, receive = matrix[comm.rank], [row[comm.rank] for row in matrix]
        source = np.repeat(10 * comm.rank + np.arange(3), send).astype(code)
        got = np.zeros(sum(receive), code)
        comm.Alltoallv([source, send], [got, receive])
        np.testing.assert_array_equal(got, np.repeat(10 * np.arange(3) + comm.rank, receive).astype(code))

    run_threads(body, 3)


@st.composite
def events(draw):
    """Sends from ranks 1 and 2 and receives on rank 0, in one order."""
    send = st.tuples(st.just("send"), st.integers(1, 2), st.integers(0, 1))
    receive = st.tuples(st.just("receive"), st.sampled_from([1, 2, MPI.ANY_SOURCE]), st.sampled_from([0, 1, MPI.ANY_TAG]))
    return draw(st.lists(send | receive, max_size=30))


def accepting(source, tag):
    return lambda s, t: source in (s, MPI.ANY_SOURCE) and tag in (t, MPI.ANY_TAG)


@given(events())
def test_messages_match_in_order_and_no_match_is_left(sequence):
    """As the standard defines it: a message goes to the oldest receive that accepts it, a receive takes the oldest message that it accepts."""
    ranks = open_thread_group(3)
    waiting, arrived, expected, posted = [], [], {}, []
    for number, (kind, source, tag) in enumerate(sequence):
        accepts = accepting(source, tag)
        if kind == "send":
            ranks[source].send(number, dest=0, tag=tag)
            taker = next((receive for receive in waiting if receive[1](source, tag)), None)
            if taker is None:
                arrived.append((number, source, tag))
            else:
                waiting.remove(taker)
                expected[taker[0]] = (number, source, tag)
        else:
            posted.append((number, ranks[0].irecv(source=source, tag=tag)))
            message = next((message for message in arrived if accepts(*message[1:])), None)
            if message is None:
                waiting.append((number, accepts))
            else:
                arrived.remove(message)
                expected[number] = message
    for number, request in posted:
        status = MPI.Status()
        done, value = request.test(status)
        assert done is (number in expected)
        if done:
            assert (value, status.Get_source(), status.Get_tag()) == expected[number]
    found = ranks[0].Iprobe()
    assert found is bool(arrived)


@given(st.integers(1, 4), st.sampled_from(["i4", "f4", "f8"]), st.sampled_from(["SUM", "PROD", "MAX", "MIN"]), st.integers(0, 2**32))
def test_reductions_are_the_fold_in_rank_order(ranks, code, name, seed):
    data = (np.random.default_rng(seed).standard_normal((ranks, 9)) * 4).astype(code)
    ufunc = {"SUM": np.add, "PROD": np.multiply, "MAX": np.maximum, "MIN": np.minimum}[name]
    partial = [data[0].copy()]
    with np.errstate(all="ignore"):
        for row in data[1:]:
            partial.append(ufunc(partial[-1], row))

    def body(comm, MPI):
        op, got = getattr(MPI, name), np.zeros(9, code)
        comm.Allreduce(data[comm.rank], got, op=op)
        assert got.tobytes() == partial[-1].tobytes()
        comm.Scan(data[comm.rank], got, op=op)
        assert got.tobytes() == partial[comm.rank].tobytes()
        comm.Exscan(data[comm.rank], got, op=op)
        assert comm.rank == 0 or got.tobytes() == partial[comm.rank - 1].tobytes()

    run_threads(body, ranks)


@given(st.integers(1, 300), st.integers(1, 4))
def test_dims_fill_the_grid_in_descending_order(nodes, dims):
    lengths = MPI.Compute_dims(nodes, dims)
    assert math.prod(lengths) == nodes and lengths == sorted(lengths, reverse=True) and len(lengths) == dims


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_grid_ranks_and_coordinates_are_inverse(dims, data):
    periods = [data.draw(st.booleans()) for _ in dims]
    size = math.prod(dims)
    if size == 1:
        grid = open_thread_group(1)[0].Create_cart(dims, periods)
        grids = [grid]
    else:
        grids = run_threads(lambda comm, MPI: comm.Create_cart(dims, periods), size)
    for grid in grids:
        assert grid.Get_cart_rank(grid.coords) == grid.rank
        assert tuple(grid.coords) == tuple(np.unravel_index(grid.rank, dims))
        for direction in range(len(dims)):
            source, target = grid.Shift(direction, 1)
            assert target == MPI.PROC_NULL or grids[target].Shift(direction, 1)[0] == grid.rank
            assert (target == MPI.PROC_NULL) is (not periods[direction] and grid.coords[direction] == dims[direction] - 1)
            assert (source == MPI.PROC_NULL) is (not periods[direction] and grid.coords[direction] == 0)


def test_a_negative_stride_is_refused():
    with pytest.raises(MPI.Exception, match="begin at 0"):
        MPI.DOUBLE.Create_vector(3, 1, -2)
