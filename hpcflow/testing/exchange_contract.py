"""What the exchange must do on any ranks, by any transport: one suite for threads and for MPI.

check(lambda job: run_local(partial(job, transport="shared memory"), workers=3))         # for check in EXCHANGE_CHECKS
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hpcflow.comm.base import CONTROL, Buffer
from hpcflow.comm.engine import Engine
from hpcflow.errors import ActionCancelledError, HpcflowError, SchemaError, StepTimeoutError
from hpcflow.native import ArenaPool
from hpcflow.shuffle.exchange import Exchange, ExchangeService, ExchangeSpec, ExchangeStats
from hpcflow.shuffle.exchange_spec import TransportName
from hpcflow.shuffle.node_memory import NodeMemory, open_node_memory

Run = Callable[[Callable[[Engine], Any]], list[Any]]
Check = Callable[[Run], None]

_WAIT_S = 40.0
_SCHEMA = pl.Schema({"key": pl.Int64, "source": pl.Int32, "row": pl.Int64, "text": pl.String})


class DictStore:
    """A FrameStore in memory that counts what it holds; `copies=True` hands out copies, as a spilled frame is another buffer."""

    def __init__(self, copies: bool = False) -> None:
        self.frames: dict[tuple[int, ...], Buffer] = {}
        self._copies = copies

    def put(self, key: tuple[int, ...], frame: Buffer) -> None:
        assert key not in self.frames, f"frame {key} was put twice"
        self.frames[key] = bytes(frame) if self._copies else frame

    def get(self, key: tuple[int, ...]) -> Buffer:
        return self.frames[key]

    def remove(self, key: tuple[int, ...]) -> None:
        del self.frames[key]


@dataclass(frozen=True)
class Place:
    """What a job gets on its rank."""

    engine: Engine
    service: ExchangeService
    store: DictStore
    pool: ArenaPool
    transport: TransportName = "chunks"
    memory: NodeMemory | None = None

    @property
    def rank(self) -> int:
        return self.engine.rank

    @property
    def size(self) -> int:
        return self.engine.size


def on_exchange(job: Callable[[Place], Any], copies: bool = False) -> Callable[..., Any]:
    """A job on a `Place` as a job on an `Engine`, by any transport."""

    def run(engine: Engine, transport: TransportName = "chunks") -> Any:
        pool, store = ArenaPool(), DictStore(copies)
        memory = open_node_memory(engine, 64 << 20, least_bytes=0) if transport == "shared memory" else None
        place = Place(engine, ExchangeService(engine, pool, store, node_memory=memory), store, pool, transport, memory)
        if memory is not None:
            memory.introduce()
            deadline = time.monotonic() + _WAIT_S
            while len(memory.readers) < engine.size - 1 and time.monotonic() < deadline:
                time.sleep(1e-3)
            assert len(memory.readers) == engine.size - 1, "a rank of this node has not mapped the segment"
        return job(place)

    return run


def table(source: int, rows: int, keys: int = 1000, start: int = 0) -> pl.DataFrame:
    """`rows` rows of one source task that can be told apart."""
    row = np.arange(start, start + rows)
    key = (row * 2654435761 + source * 97) % keys
    return pl.DataFrame(
        {"key": key, "source": np.full(rows, source, np.int32), "row": row, "text": [f"text {value} of {source}" for value in key]}, schema=_SCHEMA
    )


def ids_of(df: pl.DataFrame, partitions: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The partition of each row: its key modulo."""
    return (df["key"].to_numpy() % partitions).astype(np.uint32)


def spec_of(place: Place, step: int = 1, partitions_per_rank: int = 2, **options: Any) -> ExchangeSpec:
    """Partitions in runs over all ranks, every rank a source."""
    owners = tuple(rank for rank in range(place.size) for _ in range(partitions_per_rank))
    options = {"owners": owners, "sources": tuple(range(place.size)), "transport": place.transport, **options}
    return ExchangeSpec(step=step, schema=_SCHEMA, **options)


def insert_tasks(exchange: Exchange, rank: int, tasks: int, rows: int, pieces: int = 3) -> None:
    """Insert `tasks` tasks of this rank, each in several inserts, from a thread each."""
    partitions = len(exchange.spec.owners)

    def run(task: int) -> None:
        try:
            for piece in range(pieces):
                df = table(task, rows, start=piece * rows)
                exchange.insert(df, ids_of(df, partitions), task=task)
        except BaseException as error:
            errors.append(error)

    errors: list[BaseException] = []
    threads = [threading.Thread(target=run, args=(rank * tasks + index,)) for index in range(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def expected(tasks: int, rows: int, pieces: int = 3) -> pl.DataFrame:
    """What all tasks insert, in order."""
    return pl.concat([table(task, rows * pieces) for task in range(tasks)])


def _round_trip(
    place: Place, spec: ExchangeSpec, tasks: int = 2, rows: int = 2000, stats: list[ExchangeStats] | None = None
) -> dict[int, pl.DataFrame]:
    exchange = place.service.open(spec)
    insert_tasks(exchange, place.rank, tasks, rows)
    exchange.finish()
    exchange.wait(_WAIT_S)
    owned = [partition for partition, owner in enumerate(spec.owners) if owner == place.rank]
    tables = {partition: exchange.extract([partition]) for partition in owned}
    sizes = exchange.partition_sizes()
    assert {partition: rows for partition, (rows, _) in sizes.items()} == {partition: df.height for partition, df in tables.items()}
    together = exchange.extract(owned)
    assert together.height == sum(df.height for df in tables.values())
    exchange.release(owned)
    assert not any(key[0] == spec.step for key in place.store.frames), "release left frames behind"
    if stats is not None:
        stats.append(exchange.stats)
    exchange.close()
    return tables


def _check_placed(results: list[dict[int, pl.DataFrame]], partitions: int, want: pl.DataFrame, ordered: bool = True) -> None:
    merged = {partition: df for result in results for partition, df in result.items()}
    assert sorted(merged) == list(range(partitions))
    for partition, df in merged.items():
        wanted = want.filter(pl.col("key") % partitions == partition)
        if not ordered:
            df, wanted = df.sort("source", "row"), wanted.sort("source", "row")
        assert df.equals(wanted), f"partition {partition}: got {df}, wanted {wanted}"


def rows_reach_the_owner_of_their_partition_in_order(run: Run) -> None:
    results = run(on_exchange(lambda place: _round_trip(place, spec_of(place, chunk_bytes=8 << 10, window_bytes=64 << 10))))
    _check_placed(results, 2 * len(results), expected(2 * len(results), 2000))


def unordered_delivery_keeps_the_multiset(run: Run) -> None:
    results = run(on_exchange(lambda place: _round_trip(place, spec_of(place, ordered=False, chunk_bytes=8 << 10))))
    _check_placed(results, 2 * len(results), expected(2 * len(results), 2000), ordered=False)


def compressed_frames_give_the_same_rows_in_fewer_bytes(run: Run) -> None:
    def job(place: Place) -> tuple[dict[int, pl.DataFrame], dict[str, int]]:
        tables, sent = {}, {}
        for step, compression in enumerate(("none", "lz4", "zstd"), 1):
            stats: list[ExchangeStats] = []
            tables = _round_trip(place, spec_of(place, step=step, compression=compression), stats=stats)
            sent[compression] = stats[0].bytes_sent
        return tables, sent

    results = run(on_exchange(job))
    _check_placed([tables for tables, _ in results], 2 * len(results), expected(2 * len(results), 2000))
    if len(results) > 1:
        assert all(sent["lz4"] < sent["none"] and sent["zstd"] < sent["none"] for _, sent in results), results[0][1]


def a_store_that_copies_gives_the_same_rows(run: Run) -> None:
    results = run(on_exchange(lambda place: _round_trip(place, spec_of(place, chunk_bytes=8 << 10)), copies=True))
    _check_placed(results, 2 * len(results), expected(2 * len(results), 2000))


def everyone_sends_before_anyone_consumes_through_a_small_window(run: Run) -> None:
    def job(place: Place) -> int:
        spec = spec_of(place, window_bytes=1 << 20, chunk_bytes=128 << 10)
        exchange = place.service.open(spec)
        insert_tasks(exchange, place.rank, tasks=1, rows=60_000, pieces=2)
        exchange.finish()
        exchange.wait(_WAIT_S)
        owned = [partition for partition, owner in enumerate(spec.owners) if owner == place.rank]
        rows = exchange.extract(owned).height
        exchange.close()
        return rows

    results = run(on_exchange(job, copies=True))
    assert sum(results) == 120_000 * len(results)


def two_exchanges_are_open_at_once_in_any_order(run: Run) -> None:
    def job(place: Place) -> tuple[dict[int, pl.DataFrame], dict[int, pl.DataFrame]]:
        steps = (1, 2) if place.rank % 2 == 0 else (2, 1)
        exchanges = {step: place.service.open(spec_of(place, step=step, chunk_bytes=8 << 10)) for step in steps}
        for step in steps:
            insert_tasks(exchanges[step], place.rank, tasks=1, rows=1000 * step)
        for step in reversed(steps):
            exchanges[step].finish()
        found = []
        for step in (1, 2):
            exchanges[step].wait(_WAIT_S)
            owned = [partition for partition, owner in enumerate(exchanges[step].spec.owners) if owner == place.rank]
            found.append({partition: exchanges[step].extract([partition]) for partition in owned})
            exchanges[step].close()
        return found[0], found[1]

    results = run(on_exchange(job))
    _check_placed([first for first, _ in results], 2 * len(results), expected(len(results), 1000))
    _check_placed([second for _, second in results], 2 * len(results), expected(len(results), 2000))


def frames_that_come_before_open_are_kept(run: Run) -> None:
    def job(place: Place) -> dict[int, pl.DataFrame]:
        if place.rank == place.size - 1:
            time.sleep(0.2)
        return _round_trip(place, spec_of(place))

    results = run(on_exchange(job))
    _check_placed(results, 2 * len(results), expected(2 * len(results), 2000))


def only_committed_attempts_count(run: Run) -> None:
    def job(place: Place) -> dict[int, pl.DataFrame]:
        spec = spec_of(place)
        exchange = place.service.open(spec)
        for attempt, rows in ((0, 500), (1, 2000)):
            df = table(place.rank, rows)
            exchange.insert(df, ids_of(df, len(spec.owners)), task=place.rank, attempt=attempt)
        exchange.discard(place.rank, 0)
        exchange.commit(place.rank, 1)
        exchange.finish()
        exchange.wait(_WAIT_S)
        owned = [partition for partition, owner in enumerate(spec.owners) if owner == place.rank]
        found = {partition: exchange.extract([partition]) for partition in owned}
        exchange.close()
        return found

    results = run(on_exchange(job))
    _check_placed(results, 2 * len(results), expected(len(results), 2000, pieces=1))


def two_live_attempts_are_refused(run: Run) -> None:
    def job(place: Place) -> str:
        exchange = place.service.open(spec_of(place))
        for attempt in (0, 1):
            df = table(place.rank, 10)
            exchange.insert(df, ids_of(df, len(exchange.spec.owners)), task=place.rank, attempt=attempt)
        try:
            exchange.finish()
        except HpcflowError as error:
            return str(error)
        finally:
            exchange.close()
        return ""

    assert all("commit one and discard the others" in text for text in run(on_exchange(job)))


def a_task_committed_on_two_ranks_is_an_error(run: Run) -> None:
    def job(place: Place) -> str:
        exchange = place.service.open(spec_of(place, owners=(0,)))
        df = table(7, 10)
        exchange.insert(df, ids_of(df, 1), task=7)
        exchange.finish()
        try:
            exchange.wait(_WAIT_S)
        except HpcflowError as error:
            return str(error)
        return ""

    results = run(on_exchange(job))
    assert len(results) == 1 or "task 7 was committed by rank" in results[0]
    assert all(text == "" for text in results[1:])


def broadcast_gives_every_owner_every_row(run: Run) -> None:
    def job(place: Place) -> pl.DataFrame:
        spec = spec_of(place, partitions_per_rank=1, broadcast=True, chunk_bytes=8 << 10)
        exchange = place.service.open(spec)
        exchange.insert_broadcast(table(place.rank, 1500), task=place.rank)
        exchange.finish()
        exchange.wait(_WAIT_S)
        df = exchange.extract([place.rank])
        assert exchange.partition_sizes()[place.rank][0] == df.height
        exchange.release([place.rank])
        exchange.close()
        return df

    results = run(on_exchange(job))
    want = expected(len(results), 1500, pieces=1)
    assert all(df.equals(want) for df in results)


def a_broadcast_is_kept_until_its_last_partition_is_released(run: Run) -> None:
    def job(place: Place) -> None:
        exchange = place.service.open(spec_of(place, partitions_per_rank=2, broadcast=True))
        exchange.insert_broadcast(table(place.rank, 100), task=place.rank)
        exchange.finish()
        exchange.wait(_WAIT_S)
        first, second = 2 * place.rank, 2 * place.rank + 1
        exchange.release([first])
        assert exchange.extract([second]).height == 100 * place.size
        try:
            exchange.extract([first])
        except HpcflowError as error:
            assert "released" in str(error)
        else:
            raise AssertionError("a released partition was extracted")
        exchange.release([second])
        assert not place.store.frames
        exchange.close()

    run(on_exchange(job))


def one_owner_gathers_all_rows(run: Run) -> None:
    results = run(on_exchange(lambda place: _round_trip(place, spec_of(place, owners=(0,)))))
    _check_placed(results[:1], 1, expected(2 * len(results), 2000))
    assert all(result == {} for result in results[1:])


def empty_inputs_give_empty_tables_of_the_schema(run: Run) -> None:
    def job(place: Place) -> None:
        spec = spec_of(place)
        exchange = place.service.open(spec)
        if place.rank == 0:
            exchange.insert(table(0, 0), np.zeros(0, np.uint32), task=0)
        exchange.finish()
        exchange.wait(_WAIT_S)
        df = exchange.extract([2 * place.rank, 2 * place.rank + 1])
        assert df.height == 0
        assert df.schema == _SCHEMA
        assert exchange.partition_sizes() == {2 * place.rank: (0, 0), 2 * place.rank + 1: (0, 0)}
        exchange.close()

    run(on_exchange(job))


def an_aborted_step_ends_its_waits_and_leaves_the_service_usable(run: Run) -> None:
    def job(place: Place) -> dict[int, pl.DataFrame]:
        exchange = place.service.open(spec_of(place, chunk_bytes=8 << 10))
        insert_tasks(exchange, place.rank, tasks=1, rows=1000)
        timer = threading.Timer(0.05, place.service.abort, (1, "a task failed"))
        timer.start()
        attempts: tuple[Callable[[], None], ...] = (
            lambda: exchange.wait(_WAIT_S),
            lambda: exchange.insert(table(0, 10), np.zeros(10, np.uint32), task=99),
        )
        for attempt in attempts:
            try:
                attempt()
            except ActionCancelledError as error:
                assert str(error) == "a task failed"
            else:
                raise AssertionError("an aborted exchange went on")
        timer.join()
        exchange.close()
        try:
            place.service.open(exchange.spec)
        except ActionCancelledError:
            pass
        else:
            raise AssertionError("an aborted step was opened again")
        tables = _round_trip(place, spec_of(place, step=2))
        assert not any(key[0] == 1 for key in place.store.frames)
        return tables

    results = run(on_exchange(job))
    _check_placed(results, 2 * len(results), expected(2 * len(results), 2000))


def a_source_that_does_not_finish_is_named(run: Run) -> None:
    def job(place: Place) -> bool:
        exchange = place.service.open(spec_of(place))
        if place.rank != 0:
            exchange.finish()
        found = _only_rank_0_is_missing(exchange)
        exchange.close()
        return found

    assert all(run(on_exchange(job)))


def _only_rank_0_is_missing(exchange: Exchange) -> bool:
    """Whether waiting names rank 0, once the others' ends have arrived."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        try:
            exchange.wait(0.1)
        except StepTimeoutError as error:
            if "ranks [0] have not finished" in str(error):
                return True
        else:
            return False
    return False


def when_complete_runs_once(run: Run) -> None:
    def job(place: Place) -> int:
        exchange = place.service.open(spec_of(place))
        calls: list[int] = []
        both = threading.Semaphore(0)
        exchange.when_complete(lambda: (calls.append(1), both.release()))  # type: ignore[arg-type,func-returns-value]
        exchange.finish()
        exchange.wait(_WAIT_S)
        exchange.when_complete(lambda: (calls.append(1), both.release()))  # type: ignore[arg-type,func-returns-value]
        assert both.acquire(timeout=5)
        assert both.acquire(timeout=5)
        exchange.close()
        return len(calls)

    assert set(run(on_exchange(job))) == {2}


def wrong_tables_are_refused(run: Run) -> None:
    def job(place: Place) -> None:
        exchange = place.service.open(spec_of(place))
        for df, ids in ((pl.DataFrame({"other": [1]}), np.zeros(1, np.uint32)), (table(0, 5), np.zeros(4, np.uint32))):
            try:
                exchange.insert(df, ids, task=0)
            except SchemaError:
                continue
            raise AssertionError("a wrong table went through")
        exchange.close()

    run(on_exchange(job))


def frames_are_handed_out_as_they_arrive(run: Run) -> None:
    def job(place: Place) -> int:
        for step, options in ((1, {}), (2, {"broadcast": True}), (3, {"compression": "zstd"})):
            exchange = place.service.open(spec_of(place, step, 1, **options))
            mine = table(place.rank, 400)

            def insert(start: int, exchange: Exchange = exchange, mine: pl.DataFrame = mine) -> None:
                part = mine[start : start + 200]
                if exchange.spec.broadcast:
                    exchange.insert_broadcast(part, task=place.rank)
                else:
                    exchange.insert(part, ids_of(part, place.size), task=place.rank)

            insert(0)
            arriving = exchange.arriving()
            seen = [next(arriving)[1]]  # before anybody has finished
            assert not exchange.complete
            insert(200)
            exchange.finish()
            seen += [rows for _, rows in arriving]
            exchange.wait(_WAIT_S)
            whole = pl.concat(seen)
            if not exchange.spec.broadcast:
                assert (ids_of(whole, place.size) == place.rank).all()
            for source in range(place.size):
                rows = table(source, 400)
                wanted = rows if exchange.spec.broadcast else rows.filter(pl.Series(ids_of(rows, place.size) == place.rank))
                assert whole.filter(pl.col("source") == source).equals(wanted)
            assert exchange.extract([place.rank]).height == 0
            exchange.close()
        return 0

    run(on_exchange(job))


def an_abort_ends_the_handing_out(run: Run) -> None:
    def job(place: Place) -> None:
        exchange = place.service.open(spec_of(place))
        exchange.insert(table(0, 5), np.full(5, 2 * place.rank, np.uint32), task=place.rank)
        arriving = exchange.arriving()
        assert next(arriving)[1].height == 5
        place.service.abort(1, "enough")
        try:
            next(arriving)
        except ActionCancelledError as error:
            assert "enough" in str(error)
        else:
            raise AssertionError("the iterator went on after the abort")

    run(on_exchange(job))


def many_exchanges_are_open_at_once_in_any_order(run: Run) -> None:
    steps = range(1, 9)

    def job(place: Place) -> list[dict[int, pl.DataFrame]]:
        turned = [*steps[place.rank :], *steps[: place.rank]]
        exchanges = {step: place.service.open(spec_of(place, step=step, chunk_bytes=8 << 10)) for step in turned}
        for step in reversed(turned):
            insert_tasks(exchanges[step], place.rank, tasks=1, rows=100 * step)
            exchanges[step].finish()
        found = []
        for step in steps:
            exchanges[step].wait(_WAIT_S)
            owned = [partition for partition, owner in enumerate(exchanges[step].spec.owners) if owner == place.rank]
            found.append({partition: exchanges[step].extract([partition]) for partition in owned})
            exchanges[step].close()
        return found

    results = run(on_exchange(job))
    for index, step in enumerate(steps):
        _check_placed([found[index] for found in results], 2 * len(results), expected(len(results), 100 * step))


def only_some_ranks_take_part(run: Run) -> None:
    """Scattered by the first rank, gathered by the last, and among all but the first."""

    def job(place: Place) -> list[int]:
        ranks = tuple(range(place.size))
        rows = []
        for step, sources, owners in ((1, ranks[:1], ranks[1:] or ranks), (2, ranks, ranks[-1:]), (3, ranks[1:] or ranks, ranks[1:] or ranks)):
            exchange = place.service.open(spec_of(place, step, sources=sources, owners=owners, chunk_bytes=8 << 10))
            if place.rank in sources:
                insert_tasks(exchange, place.rank, tasks=1, rows=500)
            exchange.finish()
            exchange.wait(_WAIT_S)
            rows.append(exchange.extract([partition for partition, owner in enumerate(owners) if owner == place.rank]).height)
            exchange.close()
        return rows

    results = run(on_exchange(job))
    size = len(results)
    assert [sum(rows) for rows in zip(*results, strict=True)] == [1500, 1500 * size, 1500 * max(size - 1, 1)]


def a_slow_source_holds_up_nobody(run: Run) -> None:
    """Rank 0 inserts once every other rank has seen rows of all but rank 0."""

    def job(place: Place) -> int:
        seen = threading.Semaphore(0)
        place.engine.subscribe(CONTROL, lambda source, buffer: seen.release())
        exchange = place.service.open(spec_of(place, 1, 1))
        if place.rank == 0:
            for _ in range(1, place.size):
                assert seen.acquire(timeout=_WAIT_S), "a rank has not got the rows of the others"
        insert_tasks(exchange, place.rank, tasks=1, rows=200)
        arriving = exchange.arriving() if place.rank else iter(())
        missing = set(range(1, place.size))
        rows = 0
        for _, df in arriving:
            rows += df.height
            missing -= set(df["source"].unique())
            if not missing:
                missing = {-1}
                place.engine.send(0, CONTROL, b"")
                exchange.finish()
        exchange.finish()
        exchange.wait(_WAIT_S)
        rows += exchange.extract([place.rank]).height
        exchange.close()
        return rows

    results = run(on_exchange(job))
    assert sum(results) == 600 * len(results)


def a_step_that_a_rank_leaves_alone_ends_for_the_others(run: Run) -> None:
    """Rank 0 gives step 1 up in the middle of it, and step 2 before it has heard of it; nobody else is told."""

    def job(place: Place) -> dict[int, pl.DataFrame]:
        if place.rank == 0:
            place.service.abort(2, "not for me")
        for step in (1, 2):
            options = {"window_bytes": 64 << 10, "chunk_bytes": 8 << 10}
            if place.rank == 0 and step == 1:
                exchange = place.service.open(spec_of(place, step, **options))
                insert_tasks(exchange, place.rank, tasks=1, rows=300)
                place.service.abort(1, "enough")
            elif place.rank:
                exchange = place.service.open(spec_of(place, step, **options))
                insert_tasks(exchange, place.rank, tasks=1, rows=3000)
                exchange.finish()
                assert _only_rank_0_is_missing(exchange), "a rank that gave a step up is not the one that is waited for"
                exchange.close()
        return _round_trip(place, spec_of(place, step=3))

    results = run(on_exchange(job))
    _check_placed(results, 2 * len(results), expected(2 * len(results), 2000))


def engines_stop_though_an_exchange_was_left_open(run: Run) -> None:
    def job(place: Place) -> None:
        exchange = place.service.open(spec_of(place))
        insert_tasks(exchange, place.rank, tasks=1, rows=100)
        if place.rank == place.size - 1:
            exchange.finish()

    run(on_exchange(job))


def stats_count_what_moved(run: Run) -> None:
    def job(place: Place) -> tuple[int, int, int, int]:
        spec = spec_of(place)
        exchange = place.service.open(spec)
        insert_tasks(exchange, place.rank, tasks=1, rows=3000)
        exchange.finish()
        exchange.wait(_WAIT_S)
        stats = exchange.stats
        exchange.close()
        assert sum(rows for _, rows in stats.rows_by_destination) == stats.rows_sent == 9000
        assert stats.messages_sent == stats.frames_sent + place.size
        return stats.rows_received, stats.bytes_sent, stats.bytes_received, stats.messages_received - stats.frames_received

    results = run(on_exchange(job))
    assert sum(rows for rows, *_ in results) == 9000 * len(results)
    assert sum(sent for _, sent, _, _ in results) == sum(received for _, _, received, _ in results)
    assert {ends for *_, ends in results} == {len(results)}


EXCHANGE_CHECKS: tuple[Check, ...] = (
    rows_reach_the_owner_of_their_partition_in_order,
    unordered_delivery_keeps_the_multiset,
    compressed_frames_give_the_same_rows_in_fewer_bytes,
    a_store_that_copies_gives_the_same_rows,
    everyone_sends_before_anyone_consumes_through_a_small_window,
    two_exchanges_are_open_at_once_in_any_order,
    frames_that_come_before_open_are_kept,
    only_committed_attempts_count,
    two_live_attempts_are_refused,
    a_task_committed_on_two_ranks_is_an_error,
    broadcast_gives_every_owner_every_row,
    a_broadcast_is_kept_until_its_last_partition_is_released,
    one_owner_gathers_all_rows,
    empty_inputs_give_empty_tables_of_the_schema,
    an_aborted_step_ends_its_waits_and_leaves_the_service_usable,
    a_source_that_does_not_finish_is_named,
    when_complete_runs_once,
    wrong_tables_are_refused,
    frames_are_handed_out_as_they_arrive,
    an_abort_ends_the_handing_out,
    many_exchanges_are_open_at_once_in_any_order,
    only_some_ranks_take_part,
    a_slow_source_holds_up_nobody,
    a_step_that_a_rank_leaves_alone_ends_for_the_others,
    engines_stop_though_an_exchange_was_left_open,
    stats_count_what_moved,
)
