"""The sending side of one exchange: cut tables into chunks, pack each once, send a frame to every owner.

Invariant: `send_table` is called by task threads; it waits for the window at frame boundaries only, with no lock held. All frames of an attempt
precede the end marker on the way to each owner.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from hpcflow.comm.base import Buffer
from hpcflow.errors import HpcflowError, SchemaError
from hpcflow.native import FramePlan, read_header
from hpcflow.shuffle.exchange_messages import compress_frame, encode_end
from hpcflow.shuffle.exchange_spec import ExchangeSpec
from hpcflow.shuffle.transport import Transport
from hpcflow.shuffle.window import Window


class _Attempt:
    """One attempt of a task on this rank."""

    __slots__ = ("committed", "discarded", "frames_by_rank", "next_sequence")

    def __init__(self) -> None:
        self.next_sequence = 0
        self.frames_by_rank: dict[int, int] = {}
        self.committed = False
        self.discarded = False


class Outbox:
    """Inserts of this rank."""

    def __init__(self, spec: ExchangeSpec, rank: int, transport: Transport) -> None:
        self.window = Window(spec.window_bytes)
        self.rows_by_rank: dict[int, int] = {}
        self.frames_sent = self.bytes_sent = self.bytes_in_place = self.messages_sent = 0
        self.finished = False
        self._spec = spec
        self._rank = rank
        self._transport = transport
        self._runs = spec.runs()
        self._bounds = np.array([0, *(end for _, _, end in self._runs)], dtype=np.int64)
        self._ranks = tuple(sorted(set(spec.owners)))
        self._attempts: dict[tuple[int, int], _Attempt] = {}
        self._lock = threading.Lock()  # counters and attempts; never held while packing, sending or waiting

    def send_table(self, df: pl.DataFrame, partition_ids: npt.NDArray[np.uint32], task: int, attempt: int) -> None:
        """Send each row to the owner of its partition."""
        if len(partition_ids) != df.height:
            raise SchemaError(
                f"step {self._spec.step}: {len(partition_ids)} partition ids for {df.height} rows of task {task}: one id a row is needed"
            )
        state = self._open_attempt(df, task, attempt)
        for chunk, start in self._chunks(df, len(self._runs)):
            plan = FramePlan(chunk, partition_ids[start : start + chunk.height], self._bounds)
            frames = [self._transport.place(size, (rank,)) if size else None for (rank, _, _), size in zip(self._runs, plan.sizes, strict=True)]
            plan.write(frames, step=self._spec.step, source_task=task, attempt=attempt, sequence=self._next_sequence(state))
            for (rank, _, _), frame in zip(self._runs, frames, strict=True):
                if frame is not None:
                    self._send_frame(state, rank, frame, self._encode(frame, rank), read_header(frame).rows)

    def send_to_all(self, df: pl.DataFrame, task: int, attempt: int) -> None:
        """Send all rows to every owner, packed once."""
        state = self._open_attempt(df, task, attempt)
        for chunk, _ in self._chunks(df, 1):
            plan = FramePlan(chunk)
            frame = self._transport.place(plan.sizes[0], self._ranks)
            plan.write([frame], step=self._spec.step, source_task=task, attempt=attempt, sequence=self._next_sequence(state))
            message = compress_frame(frame, self._spec.compression)
            for rank in self._ranks:
                self._send_frame(state, rank, frame, message, chunk.height)

    def commit(self, task: int, attempt: int) -> None:
        with self._lock:
            state = self._attempts.setdefault((task, attempt), _Attempt())
            if state.discarded:
                raise HpcflowError(f"step {self._spec.step}: task {task}, attempt {attempt} was discarded and cannot be committed")
            state.committed = True

    def discard(self, task: int, attempt: int) -> None:
        with self._lock:
            state = self._attempts.setdefault((task, attempt), _Attempt())
            if state.committed:
                raise HpcflowError(f"step {self._spec.step}: task {task}, attempt {attempt} was committed and cannot be discarded")
            state.discarded = True

    def finish(self) -> None:
        """Send the end markers. Attempts neither committed nor discarded are committed now."""
        with self._lock:
            if self.finished:
                return
            self.finished = True
            counted = [(key, state) for key, state in self._attempts.items() if not state.discarded]
        tasks = [task for (task, _), _ in counted]
        twice = next((task for task in tasks if tasks.count(task) > 1), None) if len(set(tasks)) < len(tasks) else None
        if twice is not None:
            raise HpcflowError(
                f"step {self._spec.step}: task {twice} has several attempts on this rank: commit one and discard the others before finish()"
            )
        for rank in self._ranks:
            attempts = [(task, attempt, frames) for (task, attempt), state in counted if (frames := state.frames_by_rank.get(rank, 0))]
            self._transport.send(rank, encode_end(self._spec.step, attempts))
            self.messages_sent += 1

    def _chunks(self, df: pl.DataFrame, destinations: int) -> Iterator[tuple[pl.DataFrame, int]]:
        """`(slice, its first row)`, of a size that gives each destination about `chunk_bytes`, and all of them no more than the window."""
        if df.height == 0:
            return
        row_bytes = max(df.estimated_size() / df.height, 0.125)
        target = min(self._spec.chunk_bytes * destinations, max(self._spec.window_bytes, self._spec.chunk_bytes))
        pieces = max(1, -(-df.height // max(1, int(target / row_bytes))))
        step = -(-df.height // pieces)
        for start in range(0, df.height, step):
            yield df.slice(start, step), start

    def _encode(self, frame: Buffer, rank: int) -> Buffer:
        return frame if rank == self._rank else compress_frame(frame, self._spec.compression)

    def _send_frame(self, state: _Attempt, rank: int, frame: Buffer, message: Buffer, rows: int) -> None:
        payload = frame if rank == self._rank else message
        size_bytes = memoryview(payload).nbytes
        self.window.acquire(size_bytes)
        in_place = self._transport.in_place(rank, payload)
        with self._lock:
            state.frames_by_rank[rank] = state.frames_by_rank.get(rank, 0) + 1
            self.rows_by_rank[rank] = self.rows_by_rank.get(rank, 0) + rows
            self.frames_sent += 1
            self.messages_sent += 1
            self.bytes_sent += size_bytes
            self.bytes_in_place += size_bytes if in_place else 0
        self._transport.send(rank, payload, partial(self.window.release, size_bytes))

    def _open_attempt(self, df: pl.DataFrame, task: int, attempt: int) -> _Attempt:
        if df.schema != self._spec.schema:
            raise SchemaError(
                f"step {self._spec.step}: task {task} inserts a table of schema {df.schema}, the exchange was opened for {self._spec.schema}"
            )
        with self._lock:
            if self.finished:
                raise HpcflowError(f"step {self._spec.step}: task {task} inserts after finish(): call finish() after the last task of this rank")
            state = self._attempts.setdefault((task, attempt), _Attempt())
            if state.committed or state.discarded:
                raise HpcflowError(
                    f"step {self._spec.step}: task {task}, attempt {attempt} inserts after its {'commit' if state.committed else 'discard'}"
                )
            return state

    def _next_sequence(self, state: _Attempt) -> int:
        with self._lock:
            sequence = state.next_sequence
            state.next_sequence += 1
            return sequence
