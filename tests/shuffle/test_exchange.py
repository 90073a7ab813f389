"""The exchange on threads as ranks: the contract suite, and Hypothesis over shapes."""

from functools import partial
from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import WorkerLostError
from hpcflow.shuffle.exchange import ExchangeSpec
from hpcflow.shuffle.exchange_spec import TransportName
from hpcflow.testing.exchange_contract import EXCHANGE_CHECKS, on_exchange, spec_of
from hpcflow.testing.run import run_local
from tests.thorough import thorough


@pytest.mark.parametrize("transport", get_args(TransportName))
@pytest.mark.parametrize("workers", [thorough(1), thorough(2), 3])
@pytest.mark.parametrize("check", EXCHANGE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, workers, transport):
    check(lambda job: run_local(partial(job, transport=transport), workers))


def test_a_lost_rank_ends_the_waits_of_the_others(capfd):
    def job(place):
        exchange = place.service.open(spec_of(place))
        if place.rank == 0:
            place.engine.comm.abort(1)
        with pytest.raises(WorkerLostError, match="lost the other ranks"):
            exchange.wait(20)
        return "told"

    with pytest.raises(WorkerLostError):  # run_local reports the engines' failure too
        run_local(on_exchange(job), 2, timeout_s=20)


@given(
    workers=st.sampled_from([1, 2, 3, 5]),
    owners=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    inserts=st.lists(st.lists(st.integers(0, 2**40), max_size=60), max_size=8),
    chunk_bytes=st.sampled_from([1, 64, 300, 1 << 20]),
    window_bytes=st.sampled_from([1, 500, 1 << 20]),
    compression=st.sampled_from(["none", "lz4", "zstd"]),
    transport=st.sampled_from(get_args(TransportName)),
)
def test_every_row_arrives_once_at_its_partition_in_task_order(workers, owners, inserts, chunk_bytes, window_bytes, compression, transport):
    owners = tuple(owner % workers for owner in owners)
    schema = pl.Schema({"value": pl.Int64, "task": pl.Int8})
    tables = [pl.DataFrame({"value": values, "task": [index] * len(values)}, schema=schema) for index, values in enumerate(inserts)]
    spec = ExchangeSpec(
        step=5,
        owners=owners,
        sources=tuple(range(workers)),
        schema=schema,
        chunk_bytes=chunk_bytes,
        window_bytes=window_bytes,
        compression=compression,
        transport=transport,
    )

    def job(place):
        exchange = place.service.open(spec)
        for task, df in enumerate(tables):
            if task % workers == place.rank:
                exchange.insert(df, (df["value"].to_numpy() % len(owners)).astype(np.uint32), task=task)
        exchange.finish()
        exchange.wait(20)
        return {partition: exchange.extract([partition]) for partition in exchange.partition_sizes()}

    found = {partition: df for result in run_local(partial(on_exchange(job), transport=transport), workers) for partition, df in result.items()}
    everything = pl.concat([pl.DataFrame(schema=spec.schema), *tables])
    assert sorted(found) == list(range(len(owners)))
    for partition, df in found.items():
        assert df.equals(everything.filter(pl.col("value") % len(owners) == partition))
