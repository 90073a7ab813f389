"""Messages and exchanges above 2 GiB: make test-big."""

import threading

import numpy as np
import polars as pl
import pytest

from hpcflow.bsp import tables
from hpcflow.comm.base import EXCHANGE
from hpcflow.native import hash_partition_ids
from hpcflow.shuffle.exchange import ExchangeSpec
from hpcflow.testing.bsp import run_on_mpi
from hpcflow.testing.exchange_contract import on_exchange
from hpcflow.testing.run import run_mpi

pytestmark = [pytest.mark.mpi, pytest.mark.big]


@pytest.mark.parametrize("extra", [0, 5], ids=["multiple of 64", "odd length"])
def test_a_message_of_three_gib_arrives_whole(extra):
    size = (3 << 30) + extra
    places = [0, 1, (1 << 31) - 1, 1 << 31, size - 1]

    def job(engine):
        arrived = threading.Event()
        seen = []

        def take(source, buffer):
            view = memoryview(buffer)
            seen.append((source, view.nbytes, [view[place] for place in places]))
            arrived.set()

        engine.subscribe(EXCHANGE, take)
        if engine.rank == 0:
            sent = threading.Event()
            payload = np.zeros(size, np.uint8)
            payload[places] = [11, 12, 13, 14, 15]
            engine.send(engine.size - 1, EXCHANGE, payload, on_sent=sent.set)
            assert sent.wait(100)
        if engine.rank == engine.size - 1:
            assert arrived.wait(100)
            assert seen == [(0, size, [11, 12, 13, 14, 15])]

    run_mpi(job, timeout_s=120, allocate=lambda size_bytes: np.empty(size_bytes, np.uint8))


def test_more_than_two_gib_go_through_one_exchange():
    batches, rows = 18, 1 << 22  # 1.2 GB a rank

    def job(place):
        owners = tuple(rank for rank in range(place.size) for _ in range(3))
        schema = pl.Schema({"key": pl.Int64, "value": pl.Int64})
        exchange = place.service.open(ExchangeSpec(1, owners, tuple(range(place.size)), schema))
        for batch in range(batches):
            value = np.arange(rows, dtype=np.int64) + batch * rows
            df = pl.DataFrame({"key": value * place.size + place.rank, "value": value})
            exchange.insert(df, hash_partition_ids(df.select("key"), len(owners)), task=place.rank)
        exchange.finish()
        exchange.wait(200)
        owned = [partition for partition, owner in enumerate(owners) if owner == place.rank]
        found = exchange.extract(owned)
        assert (found["key"] // place.size == found["value"]).all()
        totals = (found.height, int(found["value"].sum()), exchange.stats.bytes_received)
        exchange.close()
        return totals

    results = run_mpi(on_exchange(job), timeout_s=300)
    count = batches * rows
    assert sum(height for height, _, _ in results) == count * len(results)
    assert sum(total for _, total, _ in results) == count * (count - 1) // 2 * len(results)
    assert len(results) < 2 or sum(received for *_, received in results) > 2 << 30


def test_tables_of_more_than_two_gib_go_through_one_collective():
    rows = 150_000_000  # 1.2 GB a rank

    def job(group):
        if group.rank > 1:
            df = pl.DataFrame(schema={"n": pl.Int64})
        else:
            df = pl.select(pl.int_range(group.rank * rows, (group.rank + 1) * rows).alias("n"))
        found = tables.gather(group, df)
        senders = min(2, group.size)
        if group.rank == 0:
            assert found.height == senders * rows and found.estimated_size() > senders * (1 << 30)
            assert found["n"].sum() == senders * rows * (senders * rows - 1) // 2
            assert found["n"][senders * rows - 1] == senders * rows - 1
        del df
        everywhere = tables.bcast(group, found)
        assert everywhere["n"][-1] == senders * rows - 1 and everywhere["n"].is_sorted()
        del found, everywhere
        group.pool.trim()

    run_on_mpi(job, timeout_s=200)
