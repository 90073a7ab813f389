"""The block store under its contract, and what only this one does: disk faults, failing spills, compaction, events."""

import contextlib
import os
import random
import sys
import threading

import polars as pl
import pytest

from hpcflow.errors import SchemaError, SpillError
from hpcflow.events import SpillRead, SpillWritten
from hpcflow.runtime import scratch as scratch_module
from hpcflow.runtime.block_store import BlockStore
from hpcflow.runtime.memory import MemoryBudget
from hpcflow.testing.block_store import BLOCK_STORE_CASES


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("case", BLOCK_STORE_CASES, ids=lambda case: case.__name__)
def test_block_store_keeps_its_contract(case, compression, tmp_path):
    case(lambda limit_bytes: BlockStore(MemoryBudget(limit_bytes), [tmp_path], compression))


@pytest.fixture
def store(tmp_path):
    with BlockStore(MemoryBudget(1 << 20), [tmp_path]) as store:
        yield store


def test_put_does_not_wait_for_the_disk(store, monkeypatch):
    gate = threading.Event()
    write = store.scratch.write
    monkeypatch.setattr(store.scratch, "write", lambda *parts: gate.wait(20) and write(*parts))
    for n in range(50):
        store.put(("f", n), bytes(100_000))
    assert store.overshoot_bytes > 3_000_000
    gate.set()
    for _ in range(1000):
        if not store.overshoot_bytes:
            break
        threading.Event().wait(0.01)
    assert not store.overshoot_bytes


def test_flipped_byte_on_disk_names_the_file(store, tmp_path):
    store.put(("f", 0), os.urandom(10_000))
    store.put_table(("t", 0), pl.DataFrame({"x": range(1000)}))
    store.spill_all()
    for key, read in ((("f", 0), store.get), (("t", 0), store.get_table)):
        place = store._books.find(key).place
        offset = place.offset + place.size_bytes // 2
        byte = os.pread(place.segment.descriptor, 1, offset)
        os.pwrite(place.segment.descriptor, bytes([byte[0] ^ 1]), offset)
        with pytest.raises(SpillError, match="damaged") as caught:
            read(key)
        assert str(tmp_path) in str(caught.value) and "HPCFLOW_SCRATCH" in str(caught.value)
        os.pwrite(place.segment.descriptor, byte, offset)
        read(key)


def test_full_disk_is_an_error_for_tasks_that_says_what_to_set_and_ends_with_the_shortage(tmp_path, monkeypatch):
    failures = []
    told = threading.Event()
    with BlockStore(MemoryBudget(100_000), [tmp_path], on_failure=lambda error: (failures.append(error), told.set())) as store:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(scratch_module, "_write_all", full)
        for n in range(4):
            store.put(("f", n), os.urandom(50_000))
        assert told.wait(10) and "HPCFLOW_SCRATCH" in str(failures[0]) and str(tmp_path) in str(failures[0])
        with pytest.raises(SpillError, match="No space left"):
            store.get(("f", 0))
        with pytest.raises(SpillError, match="No space left"):
            store.put_table(("t", 0), pl.DataFrame({"x": range(1000)}))
        assert ("t", 0) not in store
        store.remove(("f", 3))
        store.remove(("f", 2))
        assert store.get(("f", 0))
        monkeypatch.undo()
        store.put(("f", 4), bytes(50_000))
        assert store.get(("f", 4))
        assert store.spill_all() >= 1


def test_block_removed_while_it_is_written_leaves_nothing(store, monkeypatch):
    started, gate = threading.Event(), threading.Event()
    write = store.scratch.write

    def slow(*parts):
        started.set()
        gate.wait(20)
        return write(*parts)

    monkeypatch.setattr(store.scratch, "write", slow)
    store.put(("f", 0), bytes(1000))
    thread = threading.Thread(target=store.spill_all)
    thread.start()
    started.wait(20)
    assert bytes(store.get(("f", 0))) == bytes(1000)
    store.remove(("f", 0))
    gate.set()
    thread.join(20)
    assert store.budget.resident_bytes == 0 and store.scratch.segments == 0


def test_block_removed_while_it_is_read_is_still_given_to_its_reader(store, monkeypatch):
    store.put(("f", 0), b"x" * 1000)
    store.spill_all()
    started, gate, got = threading.Event(), threading.Event(), []
    read = store.scratch.read

    def slow(place):
        started.set()
        gate.wait(20)
        return read(place)

    monkeypatch.setattr(store.scratch, "read", slow)
    threads = [threading.Thread(target=lambda: got.append(bytes(store.get(("f", 0))))) for _ in range(1)]
    threads[0].start()
    started.wait(20)
    store.remove(("f", 0))
    gate.set()
    threads[0].join(20)
    assert got == [b"x" * 1000] and store.budget.resident_bytes == 0 and store.scratch.segments == 0


def test_two_readers_of_a_spilled_block_read_the_disk_once(store, monkeypatch):
    store.put(("f", 0), b"x" * 1000)
    store.spill_all()
    gate, got = threading.Event(), []
    read = store.scratch.read
    monkeypatch.setattr(store.scratch, "read", lambda place: gate.wait(20) and read(place))
    threads = [threading.Thread(target=lambda: got.append(bytes(store.get(("f", 0))))) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(20)
    assert got == [b"x" * 1000] * 3 and store.statistics().reads == 1


def test_stored_string_views_are_compacted(store):
    df = pl.DataFrame({"i": range(100_000)}).with_columns(s=pl.lit("a long text of no use " * 5) + pl.col("i").cast(pl.String))
    store.put_table(("t",), df.filter(pl.col("i") % 1000 == 0))
    assert store.budget.resident_bytes < 100_000


def test_object_columns_are_refused_by_name(store):
    with pytest.raises(SchemaError, match="'o'"):
        store.put_table(("t",), pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}))


def test_owners_are_counted_apart(store):
    store.put(("f",), bytes(10))
    store.put_table(("t",), pl.DataFrame({"x": [1, 2]}))
    store.put_table(("cache", 1), pl.DataFrame({"x": [1, 2, 3]}))
    assert store.budget.by_owner() == {"exchange": 10, "blocks": 16, "cache": 24}


def test_spills_and_reads_are_told(tmp_path):
    events = []
    with BlockStore(MemoryBudget(1 << 20), [tmp_path], emit=events.append) as store:
        store.put(("f",), bytes(10_000))
        store.spill_all()
        store.get(("f",))
    written, read = events
    assert isinstance(written, SpillWritten) and isinstance(read, SpillRead)
    assert (written.owner, written.resident_bytes, written.directory) == ("exchange", 10_000, str(tmp_path))
    assert written.stored_bytes == read.stored_bytes < 1000


def test_frames_read_back_go_into_arenas_of_the_pool(tmp_path):
    class Pool:
        def __init__(self):
            self.acquired = []

        def acquire(self, size_bytes):
            self.acquired.append(size_bytes)
            return bytearray(size_bytes)

    pool = Pool()
    with BlockStore(MemoryBudget(1 << 20), [tmp_path], pool=pool) as store:
        frames = [b"ab" * 5000, os.urandom(5000)]
        for n, frame in enumerate(frames):
            store.put(("f", n), frame)
        store.spill_all()
        assert [bytes(store.get(("f", n))) for n in range(2)] == frames
    assert pool.acquired == [10_000, 5000]


def test_closed_store_says_so_and_leaves_no_thread(tmp_path):
    store = BlockStore(MemoryBudget(10), [tmp_path])
    store.put(("f",), bytes(100))
    store.close()
    store.close()
    with pytest.raises(KeyError, match="closed"):
        store.put(("g",), b"")
    with pytest.raises(KeyError, match="no block"):
        store.get(("f",))
    assert store.budget.resident_bytes == 0 and not [t for t in threading.enumerate() if t.name == "hpcflow-spill"]


def test_random_calls_of_many_threads_leave_exact_sums(tmp_path):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    problems = []

    def work(worker, store):
        choose = random.Random(worker)
        calls = [
            lambda key: store.put(key, bytes([key[1]]) * choose.randrange(60_000)),
            lambda key: problems.extend(set(bytes(memoryview(store.get(key)))) - {key[1]}),
            store.remove,
            lambda key: store.remove_prefix(key[:2]),
            lambda key: store.spill_all(),
            lambda key: store.make_room(),
        ]
        try:
            for call in choose.choices(calls, [35, 30, 15, 5, 5, 10], k=600):
                with contextlib.suppress(KeyError):
                    call(("f", choose.randrange(8), choose.randrange(3)))
        except BaseException as error:
            problems.append(error)

    try:
        with BlockStore(MemoryBudget(200_000), [tmp_path], "none") as store:
            threads = [threading.Thread(target=work, args=(worker, store)) for worker in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            store.remove_prefix(())
    finally:
        sys.setswitchinterval(interval)
    assert problems == [] and store.budget.resident_bytes == 0 and store.scratch.segments == 0
