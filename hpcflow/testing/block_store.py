"""The contract of a block store, as one suite that any implementation runs.

    @pytest.mark.parametrize("case", BLOCK_STORE_CASES, ids=lambda case: case.__name__)
    def test_block_store(case, tmp_path):
        case(lambda limit_bytes: BlockStore(MemoryBudget(limit_bytes), [tmp_path]))

Invariant: every case passes with a budget that holds everything and with one that holds nearly nothing: spilling is never seen in results.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import polars as pl

from hpcflow.testing.tables import table_of_every_type

MakeStore = Callable[[int], AbstractContextManager[Any]]
"""limit in bytes -> a store with that budget, closed at the end of `with`."""

LIMITS_BYTES = (1 << 30, 200_000, 1)


def check_block_store(make_store: MakeStore) -> None:
    """Run every case; an `AssertionError` names what does not hold."""
    for case in BLOCK_STORE_CASES:
        case(make_store)


def frames_come_back_as_put(make_store: MakeStore) -> None:
    frames = {("exchange", 1, n): bytes([n]) * (n * 1000) for n in range(20)}
    for limit in LIMITS_BYTES:
        with make_store(limit) as store:
            for key, frame in frames.items():
                store.put(key, frame)
            for _ in range(2):
                for key, frame in frames.items():
                    assert bytes(memoryview(store.get(key))) == frame, f"frame {key} changed under a limit of {limit} bytes"


def tables_of_every_type_come_back_as_put(make_store: MakeStore) -> None:
    df = table_of_every_type(300)
    for limit in LIMITS_BYTES:
        with make_store(limit) as store:
            for n, part in enumerate((df, df.clear(), df.head(1), df.reverse())):
                store.put_table(("blocks", n), part)
            for n, part in enumerate((df, df.clear(), df.head(1), df.reverse())):
                got = store.get_table(("blocks", n))
                assert got.schema == part.schema, f"schema under a limit of {limit} bytes: {got.schema} != {part.schema}"
                assert got.equals(part), f"rows changed under a limit of {limit} bytes"


def keys_are_unique_and_unknown_ones_are_errors(make_store: MakeStore) -> None:
    with make_store(1 << 20) as store:
        store.put(("a", 1), b"x")
        for wrong in (lambda: store.put(("a", 1), b"y"), lambda: store.get(("b",)), lambda: store.remove(("b",)), lambda: store.get_table(("a", 1))):
            _expect(KeyError, wrong)
        assert bytes(store.get(("a", 1))) == b"x" and ("a", 1) in store and len(store) == 1


def removed_blocks_give_everything_back(make_store: MakeStore) -> None:
    for limit in LIMITS_BYTES:
        with make_store(limit) as store:
            for n in range(30):
                store.put(("exchange", n % 3, n), bytes(10_000))
            store.get(("exchange", 0, 0))
            store.remove(("exchange", 0, 0))
            assert store.remove_prefix(("exchange", 0)) == 9 and store.remove_prefix(("exchange", 0)) == 0
            assert len(store) == 20 and all(key[1] != 0 for key in store.keys(("exchange",)))
            assert store.remove_prefix(()) == 20
            _settle(store)
            figures = store.statistics()
            assert (figures.blocks, figures.stored_bytes, store.budget.resident_bytes) == (0, 0, 0), (
                f"something is left under {limit} bytes: {figures}"
            )


def memory_stays_near_the_budget(make_store: MakeStore) -> None:
    with make_store(1_000_000) as store:
        for n in range(40):
            store.put_table(("blocks", n), pl.DataFrame({"x": range(12_500)}))  # 100 kB each
            assert store.budget.resident_bytes <= 1_000_000, "put_table returned above the budget"
        assert store.statistics().spilled_blocks >= 30
        assert all(store.get_table(("blocks", n)).height == 12_500 for n in range(40))
        assert store.budget.resident_bytes <= 1_000_000


def producers_that_make_room_stay_near_the_budget(make_store: MakeStore) -> None:
    with make_store(500_000) as store:
        most = 0

        def produce(worker: int) -> None:
            nonlocal most
            for n in range(50):
                store.make_room()
                store.put(("f", worker, n), bytes([worker]) * 50_000)
                most = max(most, store.overshoot_bytes)

        threads = [threading.Thread(target=produce, args=(worker,)) for worker in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(store) == 150 and most <= 3 * 50_000, f"{most} bytes above the budget: more than one block a producer"


def pinned_blocks_stay_and_the_least_recently_used_go_first(make_store: MakeStore) -> None:
    with make_store(1 << 30) as store:
        for n in range(4):
            store.put(("f", n), bytes(1000))
        store.pin(("f", 0))
        store.get(("f", 1))
        assert store.spill_all() == 3
        assert store.statistics().resident_blocks == 1
        store.unpin(("f", 0))
        assert store.spill_all() == 1 and store.statistics().resident_blocks == 0
        _expect(ValueError, lambda: store.unpin(("f", 0)))


def a_block_read_back_is_not_written_twice(make_store: MakeStore) -> None:
    with make_store(1 << 30) as store:
        store.put(("f", 0), bytes(1000))
        for _ in range(3):
            assert store.spill_all() == 1
            store.get(("f", 0))
        assert store.statistics().spills == 1 and store.statistics().reads == 3


def tables_for_scratch_leave_memory_at_once(make_store: MakeStore) -> None:
    with make_store(1 << 30) as store:
        store.put_table(("t",), pl.DataFrame({"x": range(1000)}), to_scratch=True)
        assert store.statistics().spilled_blocks == 1 and store.budget.resident_bytes == 0
        assert store.get_table(("t",)).height == 1000


def many_threads_see_one_store(make_store: MakeStore) -> None:
    with make_store(300_000) as store:
        problems: list[BaseException] = []

        def work(worker: int) -> None:
            try:
                for n in range(40):
                    key = ("w", worker, n)
                    store.put(key, bytes([worker, n]) * 5_000)
                    store.get(("shared",))
                    if n >= 5:
                        assert bytes(store.get(("w", worker, n - 5))) == bytes([worker, n - 5]) * 5_000
                        store.remove(("w", worker, n - 5))
            except BaseException as error:
                problems.append(error)

        store.put(("shared",), b"s" * 50_000)
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not problems, problems
        assert store.remove_prefix(("w",)) == 20 and store.remove_prefix(("shared",)) == 1
        _settle(store)
        assert store.budget.resident_bytes == 0


def _settle(store: Any) -> None:
    """Wait for spills under way; the store gives back what was removed meanwhile when they end."""
    for _ in range(500):
        if store.budget.resident_bytes == 0:
            return
        threading.Event().wait(0.01)


def _expect(kind: type[BaseException], call: Callable[[], object]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected")


BLOCK_STORE_CASES: tuple[Callable[[MakeStore], None], ...] = (
    frames_come_back_as_put,
    tables_of_every_type_come_back_as_put,
    keys_are_unique_and_unknown_ones_are_errors,
    removed_blocks_give_everything_back,
    memory_stays_near_the_budget,
    producers_that_make_room_stay_near_the_budget,
    pinned_blocks_stay_and_the_least_recently_used_go_first,
    a_block_read_back_is_not_written_twice,
    tables_for_scratch_leave_memory_at_once,
    many_threads_see_one_store,
)
