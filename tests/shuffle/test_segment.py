"""Shared memory of a node: extents, mapping by another process, and when a frame's place is free again."""

import contextlib
import gc
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcflow as hf
from hpcflow.errors import FrameError
from hpcflow.shuffle.node_messages import (
    FrameInPlace,
    FramesBack,
    SegmentMapped,
    SegmentOffered,
    decode_node_message,
    encode_node_message,
)
from hpcflow.shuffle.segment import Segment, SegmentAddress, attach
from hpcflow.testing.exchange_contract import ids_of, on_exchange, spec_of, table
from hpcflow.testing.run import run_local

STAMP = bytes(range(16))


@given(st.lists(st.one_of(st.integers(1, 9000), st.integers(-8, -1)), max_size=60))
def test_extents_never_overlap_and_all_memory_comes_back(steps):
    segment = Segment.create(64 << 10)
    whole = segment.allocate(60 << 10)
    assert whole is not None
    segment.free(whole)
    taken = {}
    for step in steps:
        if step > 0:
            offset = segment.allocate(step)
            if offset is not None:
                assert offset % 64 == 0
                assert all(offset + step <= start or start + size <= offset for start, size in taken.items())
                taken[offset] = step
        elif taken:
            offset = sorted(taken)[step % len(taken)]
            del taken[offset]
            segment.free(offset)
    for offset in taken:
        segment.free(offset)
    assert segment.allocated_bytes == 0
    assert segment.allocate(60 << 10) == whole
    segment.close()


def test_memory_that_the_system_does_not_have_is_no_room():
    segment = Segment.create(64 << 20)
    os.ftruncate(segment.address.descriptor, 16 << 20)  # what lies behind the end of the file cannot be had either
    assert segment.allocate(32 << 20) is None
    offset = segment.allocate(8 << 20)
    segment.memory[offset : offset + (8 << 20)] = bytes(8 << 20)
    assert segment.allocate(8 << 20) is None
    segment.free(offset)
    assert segment.allocate(8 << 20) == offset
    segment.close()


def test_another_process_reads_what_was_written_and_cannot_write():
    segment = Segment.create(1 << 20)
    offset = segment.allocate(5)
    segment.memory[offset : offset + 5] = b"hello"
    program = f"""
from hpcflow.shuffle.segment import SegmentAddress, attach
memory = attach({segment.address!r})
print(bytes(memory[{offset}:{offset + 5}]).decode(), memory.readonly)
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout == "hello True\n"
    assert segment.memory[:16] == segment.address.stamp
    segment.close()


def test_a_segment_that_is_another_one_is_not_mapped():
    segment = Segment.create(1 << 20)
    assert attach(replace(segment.address, stamp=STAMP)) is None
    assert attach(replace(segment.address, descriptor=1 << 20)) is None
    assert attach(replace(segment.address, process=1 << 22)) is None
    mapped = attach(segment.address)
    held = segment.memory[:16]
    extent = segment.allocate(64)
    segment.close()
    segment.free(extent)
    assert held == segment.address.stamp
    assert segment.allocate(1) is None
    assert mapped[:16] == segment.address.stamp
    assert attach(segment.address) is None


@pytest.mark.parametrize(
    "message",
    [SegmentOffered(SegmentAddress(7, 8, 1 << 40, STAMP)), SegmentMapped(STAMP), FrameInPlace(5, STAMP, 64, 128), FramesBack(STAMP, (64, 192))],
    ids=lambda message: type(message).__name__,
)
def test_messages_come_back_whole_and_damaged_ones_are_refused(message):
    encoded = encode_node_message(message)
    assert decode_node_message(encoded) == message
    for damaged in (encoded[:20], encoded[:-1], encoded + b"x" * 8, encoded[:4] + b"\x09\x00" + encoded[6:], encoded[:6] + b"\x09\x00" + encoded[8:]):
        with pytest.raises(FrameError):
            decode_node_message(damaged)
    assert decode_node_message(b"HFXM" + encoded[4:]) is None


def test_frames_are_read_where_they_were_packed_and_their_places_come_back():
    def job(place):
        exchange = place.service.open(spec_of(place))
        df = table(place.rank, 5000)
        exchange.insert(df, ids_of(df, len(exchange.spec.owners)), task=place.rank)
        exchange.finish()
        exchange.wait(20)
        owned = [partition for partition, owner in enumerate(exchange.spec.owners) if owner == place.rank]
        rows = exchange.extract(owned)
        stats = exchange.stats
        own = stats.rows_by_destination[place.rank][1]
        assert 0 < stats.bytes_in_place < stats.bytes_sent
        assert stats.bytes_in_place == pytest.approx(stats.bytes_sent * (stats.rows_sent - own) / stats.rows_sent, rel=0.1)
        exchange.close()
        assert rows["row"].sum() > 0
        del rows, exchange
        deadline = time.monotonic() + 20
        while place.memory.placed_bytes and time.monotonic() < deadline:
            time.sleep(1e-3)
        return place.memory.placed_bytes

    assert run_local(partial(on_exchange(job), transport="shared memory"), 3) == [0, 0, 0]


def test_a_full_segment_is_no_error():
    def job(place):
        frame = place.memory.place(60 << 20)
        assert place.memory.place(8 << 20) is None
        exchange = place.service.open(spec_of(place, chunk_bytes=8 << 20))
        df = table(place.rank, 200_000)
        exchange.insert(df, np.full(df.height, (2 * place.rank + 2) % 4, np.uint32), task=place.rank)
        exchange.finish()
        exchange.wait(20)
        assert exchange.extract([2 * place.rank]).height == 200_000
        exchange.close()
        del frame
        return exchange.stats.bytes_in_place

    assert run_local(partial(on_exchange(job), transport="shared memory"), 2) == [0, 0]


def mapped_and_open():
    """Segments that this process has mapped, and those that it holds open."""
    opened = 0
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            opened += "memfd:hpcflow" in os.readlink(f"/proc/self/fd/{entry}")
    return Path("/proc/self/maps").read_text().count("memfd:hpcflow"), opened


@pytest.mark.parametrize("options", [{}, {"shared_memory": 0}], ids=["shared", "none"])
def test_a_session_leaves_no_memory_and_no_open_file_and_its_results_stay(options):
    gc.collect()
    before = mapped_and_open()
    df = pl.DataFrame({"k": np.arange(60_000) % 100, "v": np.arange(60_000)})
    with hf.Session(workers=2, progress="off", **options) as session:
        shuffled = session.from_polars(df).repartition(2, by="k")
        assert ("by shared memory" in shuffled.explain()) is (options == {})
        found = [shuffled.collect() for _ in range(2)]
        used = mapped_and_open()
    assert (used > before) is (options == {})
    assert all(rows.sort("v").equals(df) for rows in found)
    del found
    assert mapped_and_open() == before
