"""The one all-to-all: a streaming exchange of rows between ranks, chunk by chunk, while tasks still produce them.

Invariant: whatever the ranks, chunk sizes and compression, the owner of a partition gets exactly the rows that committed attempts inserted for
it, in (source task, sequence) order when the spec says `ordered`. Receiving never needs a task thread; inserting waits only for the window.
Exchanges may be open together and be opened in any order on different ranks.

    service = ExchangeService(engine, pool, store)             # one per rank
    exchange = service.open(ExchangeSpec(step=1, owners=(0, 1), sources=(0, 1), schema=df.schema))
    exchange.insert(df, partition_ids, task=0)
    exchange.finish()
    exchange.wait(timeout_s=60)
    mine = exchange.extract([engine.rank])
    exchange.close()
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hpcflow.comm.base import EXCHANGE, Buffer
from hpcflow.comm.engine import Engine
from hpcflow.errors import ActionCancelledError, HpcflowError, WorkerLostError
from hpcflow.native import ArenaPool
from hpcflow.shuffle.exchange_messages import decode
from hpcflow.shuffle.exchange_spec import ExchangeSpec, ExchangeStats
from hpcflow.shuffle.inbox import FrameStore, Inbox
from hpcflow.shuffle.node_memory import NodeMemory
from hpcflow.shuffle.node_messages import FrameInPlace, decode_node_message
from hpcflow.shuffle.outbox import Outbox
from hpcflow.shuffle.transport import Chunks, SharedMemory, Transport

__all__ = ["Exchange", "ExchangeService", "ExchangeSpec", "ExchangeStats", "FrameStore"]


class Exchange:
    """One exchange on one rank. Made by `ExchangeService.open`."""

    def __init__(self, service: ExchangeService, spec: ExchangeSpec, inbox: Inbox, outbox: Outbox) -> None:
        self.spec = spec
        self._service = service
        self._inbox = inbox
        self._outbox = outbox
        self._waiting_s = 0.0

    def insert(self, df: pl.DataFrame, partition_ids: npt.NDArray[np.uint32], *, task: int, attempt: int = 0) -> None:
        """Send each row of `df` to the owner of its partition; waits while more than the window is under way.

        Args:
            df: a table of the spec's schema.
            partition_ids: uint32[df.height], each below the number of partitions.
            task: the source task; inserts of one task are delivered in the order of these calls.

        Raises:
            ActionCancelledError: the step was aborted.
        """
        if self.spec.broadcast:
            raise HpcflowError(f"step {self.spec.step} is a broadcast: call insert_broadcast")
        self._outbox.send_table(df, np.ascontiguousarray(partition_ids, dtype=np.uint32), task, attempt)

    def insert_broadcast(self, df: pl.DataFrame, *, task: int, attempt: int = 0) -> None:
        """Send all rows of `df` to every owner, packed once."""
        if not self.spec.broadcast:
            raise HpcflowError(f"step {self.spec.step} is no broadcast: call insert, or open it with broadcast=True")
        self._outbox.send_to_all(df, task, attempt)

    def commit(self, task: int, attempt: int = 0) -> None:
        """These rows count. Only needed where a task has several attempts; `finish` commits what was not discarded."""
        self._outbox.commit(task, attempt)

    def discard(self, task: int, attempt: int = 0) -> None:
        """Receivers drop the rows of this attempt."""
        self._outbox.discard(task, attempt)

    def finish(self) -> None:
        """This rank inserts no more. Every source calls it once; without effect elsewhere."""
        if self._service.rank in self.spec.sources:
            self._outbox.finish()

    def when_complete(self, callback: Callable[[], None]) -> None:
        """Run `callback()` on the engine thread (quick, never blocks) once everything has arrived; never after an abort."""
        self._service.call(lambda: self._inbox.notify(callback))

    def arriving(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """`(partition, rows)` frame by frame as they arrive, while others still insert; ends, or raises the failure, when all is there.

        Rows of one source task come in its order. What was handed out is not in `extract`, and counts whether or not its attempt is committed: for
        exchanges of one attempt a task. One iterator an exchange.
        """
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._service.call(lambda: self._inbox.stream(arrived.put))
        while (frame := arrived.get()) is not None:
            yield from self._inbox.take_out(frame)
        self._inbox.wait(None)

    @property
    def complete(self) -> bool:
        """Whether all that was sent to this rank has arrived."""
        return self._inbox.complete

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until everything has arrived.

        Raises:
            StepTimeoutError: not within `timeout_s` seconds; names the ranks that have not finished.
            ActionCancelledError: the step was aborted.
        """
        started = time.monotonic()
        try:
            self._inbox.wait(timeout_s)
        finally:
            self._waiting_s += time.monotonic() - started

    def partition_sizes(self) -> dict[int, tuple[int, int]]:
        """Owned partition -> (rows, bytes); after completion."""
        return self._inbox.sizes()

    def extract(self, partitions: Sequence[int], keep: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> pl.DataFrame:
        """The rows of these owned partitions, as a table of many chunks that are not copied; with `keep`, of what it leaves of each frame's rows.

        Each partition's rows are in order; partitions asked for together come frame by frame.
        """
        return self._inbox.extract(partitions, keep)

    def release(self, partitions: Iterable[int]) -> None:
        """Give back the frames of these partitions; tables that were extracted stay valid."""
        self._inbox.release(partitions)

    def close(self) -> None:
        """Free what is left. What arrives later for this step is dropped."""
        self._service.close(self)

    @property
    def stats(self) -> ExchangeStats:
        outbox, inbox = self._outbox, self._inbox
        rows = tuple(sorted(outbox.rows_by_rank.items()))
        return ExchangeStats(
            rows_sent=sum(count for _, count in rows),
            rows_received=inbox.rows_received,
            bytes_sent=outbox.bytes_sent,
            bytes_received=inbox.bytes_received,
            bytes_in_place=outbox.bytes_in_place,
            frames_sent=outbox.frames_sent,
            frames_received=inbox.frames_received,
            messages_sent=outbox.messages_sent,
            messages_received=inbox.messages_received,
            rows_by_destination=rows,
            blocked_s=outbox.window.blocked_s,
            waiting_s=self._waiting_s,
        )

    def cancel(self, error: BaseException) -> None:
        """End every wait on this rank with `error`. Use `ExchangeService.abort`."""
        self._outbox.window.cancel(error)
        self._inbox.fail(error)


class ExchangeService:
    """All exchanges of a rank; owns the EXCHANGE tag of its engine.

    node_memory: the rank's part of its node's shared memory, for exchanges that travel by it; None: they travel as chunks
    """

    def __init__(
        self,
        engine: Engine,
        pool: ArenaPool,
        store: FrameStore,
        on_progress: Callable[[], Any] | None = None,
        node_memory: NodeMemory | None = None,
    ) -> None:
        self.rank = engine.rank
        self.call = engine.call
        self._engine = engine
        self.pool = pool
        """Arenas that frames are packed into."""
        self._store = store
        self._on_progress = on_progress
        self._node_memory = node_memory
        self._inboxes: dict[int, Inbox] = {}  # dict operations are atomic; an Inbox is filled by the engine thread alone
        self._open: dict[int, Exchange] = {}
        self._ended = False
        self._retired: dict[int, str] = {}  # steps that ended before they were complete -> why; late frames of them are dropped
        engine.subscribe(EXCHANGE, self._take)
        self._forget_failure = engine.when_failed(self._fail)

    def open(self, spec: ExchangeSpec) -> Exchange:
        """Take part in a step. What has arrived for it is there already.

        Raises:
            ActionCancelledError: the step was aborted before.
            HpcflowError: the step is open.
        """
        if spec.step in self._retired:
            raise ActionCancelledError(self._retired[spec.step])
        inbox = self._inboxes.setdefault(spec.step, Inbox(spec.step, self.rank, self._store))
        exchange = Exchange(self, spec, inbox, Outbox(spec, self.rank, self._transport(spec)))
        if self._open.setdefault(spec.step, exchange) is not exchange:
            raise HpcflowError(f"step {spec.step} is open on rank {self.rank} already: every exchange has a step number of its own")
        self.call(lambda: inbox.attach(spec))
        if spec.step in self._retired:  # aborted meanwhile
            self._open.pop(spec.step, None)
            self._drop_soon(spec.step)
            exchange.cancel(ActionCancelledError(self._retired[spec.step]))
        return exchange

    def _transport(self, spec: ExchangeSpec) -> Transport:
        chunks = Chunks(self._engine, self.pool)
        if spec.transport == "shared memory" and spec.compression == "none" and self._node_memory is not None:
            return SharedMemory(spec.step, self._engine, self._node_memory, chunks)
        return chunks

    def opened(self, step: int) -> Exchange | None:
        """The exchange of a step that is open on this rank: where master and worker share a rank, they share its end."""
        return self._open.get(step)

    def abort(self, step: int, reason: str) -> None:
        """End a step on this rank, open or not: its waits raise ActionCancelledError(reason), its frames are freed, later ones dropped."""
        self._retired.setdefault(step, reason)
        exchange = self._open.pop(step, None)
        if exchange is not None:
            exchange.cancel(ActionCancelledError(reason))
        self._drop_soon(step)

    def close(self, exchange: Exchange) -> None:
        """Use `Exchange.close`."""
        step = exchange.spec.step
        if self._open.pop(step, None) is None:
            return
        if not exchange.complete:
            reason = f"step {step} was closed on rank {self.rank} before it was complete"
            self._retired.setdefault(step, reason)
            exchange.cancel(ActionCancelledError(reason))
        self._drop_soon(step)

    def end(self) -> None:
        """This rank takes part in no more exchanges: what still comes for one is dropped, and not stored."""
        self._ended = True
        self._forget_failure()
        if self._node_memory is not None:
            self._node_memory.close()

    def _fail(self, error: BaseException) -> None:
        """The engine has failed: nobody may wait for what it will not bring."""
        for exchange in list(self._open.values()):
            exchange.cancel(WorkerLostError(f"rank {self.rank} has lost the other ranks: {error}"))

    def _drop_soon(self, step: int) -> None:
        def drop() -> None:
            inbox = self._inboxes.pop(step, None)
            if inbox is not None:
                inbox.drop()

        self.call(drop)

    def _take(self, source: int, buffer: Buffer) -> None:
        """A message has arrived; on the engine thread."""
        about_memory = decode_node_message(buffer)
        if about_memory is not None:
            if self._node_memory is None:
                return  # an offer that this rank does not take
            if not isinstance(about_memory, FrameInPlace):
                self._node_memory.take(source, about_memory)
                return
            buffer = self._node_memory.view(source, about_memory)
            if buffer is None:
                return
        message = decode(buffer)
        if self._ended or message.step in self._retired:
            return
        inbox = self._inboxes.get(message.step)
        if inbox is None:
            inbox = self._inboxes.setdefault(message.step, Inbox(message.step, self.rank, self._store))
        inbox.take(source, message, buffer)
        if self._on_progress is not None:
            self._on_progress()
