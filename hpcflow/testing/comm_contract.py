"""What every `Comm` and the engine on it must do: one suite for all implementations.

Each check is a function of `run(job) -> results of all ranks`, so that a test file is one parametrized call:

    @pytest.mark.parametrize("check", COMM_CHECKS, ids=lambda check: check.__name__)
    def test_in_process(check): check_comm(lambda job: run_local(job, workers=3), check)
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from hpcflow.comm.base import CONTROL, EXCHANGE, Buffer
from hpcflow.comm.engine import Engine
from hpcflow.errors import WorkerLostError

Run = Callable[[Callable[[Engine], Any]], list[Any]]
Check = Callable[[Run], None]

_WAIT_S = 30.0
_READY = 9
_SIZES = (0, 1, 63, 64, 65, 4096, 100_003, 1 << 20, (5 << 20) + 64)


def check_comm(run: Run, *checks: Check) -> None:
    """Run the given checks (default: all of them)."""
    for check in checks or COMM_CHECKS:
        check(run)


class Mailbox:
    """What an engine has received on a tag, as a queue for the test's thread: (source, bytes)."""

    def __init__(self, engine: Engine, tag: int) -> None:
        self._queue: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        engine.subscribe(tag, self._take)

    def _take(self, source: int, buffer: Buffer) -> None:
        self._queue.put((source, bytes(buffer)))

    def get(self) -> tuple[int, bytes]:
        return self._queue.get(timeout=_WAIT_S)


def ranks_know_their_place(run: Run) -> None:
    places = run(lambda engine: (engine.rank, engine.size))
    assert places == [(rank, len(places)) for rank in range(len(places))]


def messages_of_all_sizes_arrive_whole(run: Run) -> None:
    def job(engine: Engine) -> None:
        mailbox = Mailbox(engine, EXCHANGE)
        for size in _SIZES:
            for peer in range(engine.size):
                engine.send(peer, EXCHANGE, _pattern(engine.rank, size))
        got: dict[int, list[bytes]] = {rank: [] for rank in range(engine.size)}
        for _ in range(len(_SIZES) * engine.size):
            source, data = mailbox.get()
            got[source].append(data)
        for source, messages in got.items():
            assert messages == [bytes(_pattern(source, size)) for size in _SIZES]

    run(job)


def messages_of_a_pair_keep_their_order(run: Run) -> None:
    def job(engine: Engine) -> None:
        mailbox = Mailbox(engine, EXCHANGE)
        sizes = [(7919 * index) % 200_000 if index % 3 else index for index in range(200)]
        peer = (engine.rank + 1) % engine.size
        for index, size in enumerate(sizes):
            engine.send(peer, EXCHANGE, index.to_bytes(4, "little") + bytes(size))
        arrived = [int.from_bytes(mailbox.get()[1][:4], "little") for _ in sizes]
        assert arrived == list(range(len(sizes)))

    run(job)


def messages_of_different_tags_keep_their_order(run: Run) -> None:
    def job(engine: Engine) -> None:
        order: queue.SimpleQueue[int] = queue.SimpleQueue()
        engine.subscribe(CONTROL, lambda source, buffer: order.put(CONTROL))
        engine.subscribe(EXCHANGE, lambda source, buffer: order.put(EXCHANGE))
        ready = Mailbox(engine, _READY)
        peer = (engine.rank + 1) % engine.size
        engine.send((engine.rank - 1) % engine.size, _READY, b"")
        ready.get()  # the peer has subscribed to both tags
        tags = [EXCHANGE, CONTROL] * 10
        for tag in tags:
            engine.send(peer, tag, bytes(2 << 20 if tag == EXCHANGE else 8))
        assert [order.get(timeout=_WAIT_S) for _ in tags] == tags

    run(job)


def messages_before_a_subscription_are_kept(run: Run) -> None:
    def job(engine: Engine) -> None:
        for peer in range(engine.size):
            engine.send(peer, EXCHANGE, b"early")
            engine.send(peer, CONTROL, b"after")
        control = Mailbox(engine, CONTROL)
        for _ in range(engine.size):
            control.get()
        mailbox = Mailbox(engine, EXCHANGE)
        assert sorted(mailbox.get() for _ in range(engine.size)) == [(rank, b"early") for rank in range(engine.size)]

    run(job)


def on_sent_runs_once_per_message(run: Run) -> None:
    def job(engine: Engine) -> None:
        mailbox = Mailbox(engine, EXCHANGE)
        sent: queue.SimpleQueue[int] = queue.SimpleQueue()
        messages = [(peer, size) for peer in range(engine.size) for size in _SIZES]
        for index, (peer, size) in enumerate(messages):
            engine.send(peer, EXCHANGE, bytes(size), on_sent=lambda index=index: sent.put(index))  # type: ignore[misc]
        assert sorted(sent.get(timeout=_WAIT_S) for _ in messages) == list(range(len(messages)))
        assert sent.empty()
        for _ in messages:
            mailbox.get()

    run(job)


def a_message_to_self_is_the_same_buffer(run: Run) -> None:
    def job(engine: Engine) -> None:
        buffers: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        engine.subscribe(EXCHANGE, lambda source, buffer: buffers.put(buffer))
        payload = bytearray(b"mine")
        engine.send(engine.rank, EXCHANGE, payload)
        assert buffers.get(timeout=_WAIT_S) is payload

    run(job)


def everyone_sends_much_to_everyone_at_once(run: Run) -> None:
    def job(engine: Engine) -> None:
        mailbox = Mailbox(engine, EXCHANGE)
        threads = [threading.Thread(target=_flood, args=(engine, 12), daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        total = sum(len(mailbox.get()[1]) for _ in range(2 * 12 * engine.size))
        assert total == 2 * engine.size * sum(index * 100_000 for index in range(12))

    run(job)


def a_send_wakes_an_idle_engine(run: Run) -> None:
    def job(engine: Engine) -> float:
        mailbox = Mailbox(engine, CONTROL)
        time.sleep(0.05)
        started = time.monotonic()
        engine.send(engine.rank, CONTROL, b"now")
        mailbox.get()
        return time.monotonic() - started

    assert min(run(job)) < 0.05


def a_failing_handler_is_reported(run: Run) -> None:
    def job(engine: Engine) -> None:
        def fail(source: int, buffer: Buffer) -> None:
            raise ZeroDivisionError("in a handler")

        mailbox = Mailbox(engine, CONTROL)
        engine.subscribe(EXCHANGE, fail)
        if engine.rank == 0:
            engine.send(0, EXCHANGE, b"x")
        engine.send(engine.rank, CONTROL, b"the engine still works")
        mailbox.get()

    try:
        run(job)
    except ZeroDivisionError as error:
        assert "rank 0" in "".join(error.__notes__)
    else:
        raise AssertionError("the failure of a handler was swallowed")


def a_wrong_destination_is_refused(run: Run) -> None:
    def job(engine: Engine) -> str:
        try:
            engine.send(engine.size, CONTROL, b"")
        except ValueError as error:
            return str(error)
        return ""

    assert all("give a rank in" in text for text in run(job))


def a_stopped_engine_refuses_to_send(run: Run) -> None:
    engines: list[Engine] = []
    run(engines.append)
    for engine in engines:
        try:
            engine.send(0, CONTROL, b"")
        except WorkerLostError:
            continue
        raise AssertionError("send after stop went through")


def _pattern(rank: int, size: int) -> bytes:
    return (
        bytes((rank + index) % 251 for index in range(min(size, 251))) * (size // 251) + bytes(size % 251)
        if size >= 251
        else bytes([rank % 251]) * size
    )


def _flood(engine: Engine, count: int) -> None:
    for index in range(count):
        for peer in range(engine.size):
            engine.send(peer, EXCHANGE, bytes(index * 100_000))


COMM_CHECKS: tuple[Check, ...] = (
    ranks_know_their_place,
    messages_of_all_sizes_arrive_whole,
    messages_of_a_pair_keep_their_order,
    messages_of_different_tags_keep_their_order,
    messages_before_a_subscription_are_kept,
    on_sent_runs_once_per_message,
    a_message_to_self_is_the_same_buffer,
    everyone_sends_much_to_everyone_at_once,
    a_send_wakes_an_idle_engine,
    a_failing_handler_is_reported,
    a_wrong_destination_is_refused,
    a_stopped_engine_refuses_to_send,
)
