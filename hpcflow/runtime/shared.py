"""Broadcast values on their way: pickled once, sent once to every worker process, buffers beside the pickle.

Invariant: a process gets a value before it can run a task that reads it, or the task waits for it. Arrays and tables are not copied into the pickle
(protocol 5); a Polars frame travels as one frame of the engine.

    tag SHARED, from the master, in order:   header (key, pickle, number of buffers)   buffer   buffer   ...
"""

from __future__ import annotations

import io
import os
import pickle
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cloudpickle
import polars as pl

from hpcflow.comm.base import Buffer
from hpcflow.comm.engine import Engine
from hpcflow.errors import SchemaError, UnpicklableError
from hpcflow.ir import shared_values
from hpcflow.ir.shared_values import Shareable
from hpcflow.native import ArenaPool, pack_frame, unpack_frame

SHARED = 4
"""Tag of these messages."""


@dataclass(frozen=True)
class _Header:
    key: str
    blob: bytes
    buffers: int


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, pool: ArenaPool, buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        self._pool = pool

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, pl.DataFrame) and obj.width:
            frame = pack_frame(obj, pool=self._pool)
            return _frame_from, (pickle.PickleBuffer(frame), obj.schema)
        return super().reducer_override(obj)


def _frame_from(frame: Any, schema: pl.Schema) -> pl.DataFrame:
    return unpack_frame(frame, schema)


def dump_value(value: Any, pool: ArenaPool) -> tuple[bytes, list[memoryview]]:
    """The pickle and the buffers beside it, which are views of the value's own memory."""
    file, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    try:
        _Pickler(file, pool, buffers).dump(value)
    except SchemaError:
        raise
    except Exception as error:
        raise UnpicklableError(f"hf.broadcast: a {type(value).__name__} cannot be sent to the workers: {error}") from error
    return file.getvalue(), [buffer.raw() for buffer in buffers]


def load_value(blob: bytes, buffers: Iterable[Any]) -> Any:
    """The value over these buffers, which are not copied; arrays are read-only."""
    return pickle.loads(blob, buffers=[memoryview(buffer).toreadonly() for buffer in buffers])


class SharedSender:
    """On the driver, one a session: which values its workers have."""

    def __init__(self, engine: Engine, pool: ArenaPool, drop: Callable[[str], None]) -> None:
        self._engine = engine
        self._pool = pool
        self._drop_there = drop
        self._sent: set[str] = set()
        self._here: set[str] = set()
        """Held in this process for workers that are its threads."""
        self._lock = threading.Lock()
        self.sent_bytes = 0
        """Of values, to all processes."""

    def send(self, values: Iterable[Shareable], processes: dict[int, int]) -> None:
        """Send what the workers do not have yet. processes: rank -> process id, of one worker of each process; ours takes it as it is."""
        with self._lock:
            for value in values:
                if value.key in self._sent:
                    continue
                blob, buffers = dump_value(value.value, self._pool)
                for rank, pid in processes.items():
                    if pid == os.getpid():
                        shared_values.put(value.key, lambda blob=blob, buffers=buffers: load_value(blob, buffers))  # type: ignore[misc]
                        self._here.add(value.key)
                        continue
                    self._engine.send(rank, SHARED, pickle.dumps(_Header(value.key, blob, len(buffers)), protocol=5))
                    for buffer in buffers:
                        self._engine.send(rank, SHARED, buffer)
                    self.sent_bytes += len(blob) + sum(buffer.nbytes for buffer in buffers)
                self._sent.add(value.key)
                value.when_released(self.release)

    def release(self, key: str) -> None:
        """Let workers forget a value; the driver's thread, or whichever drops the last handle."""
        with self._lock:
            if key not in self._sent:
                return
            self._sent.discard(key)
            self._drop_here(key)
        self._drop_there(key)

    def close(self) -> None:
        """The session ends: workers in other processes forget by themselves."""
        with self._lock:
            self._sent.clear()
            for key in list(self._here):
                self._drop_here(key)

    def _drop_here(self, key: str) -> None:
        if key in self._here:
            self._here.discard(key)
            shared_values.drop(key)


class SharedReceiver:
    """On a worker in a process of its own: puts together what arrives, on the engine thread."""

    def __init__(self, engine: Engine) -> None:
        self._header: _Header | None = None
        self._buffers: list[Buffer] = []
        self._held: set[str] = set()
        engine.subscribe(SHARED, self._take)

    def _take(self, source: int, buffer: Buffer) -> None:
        if self._header is None:
            self._header, self._buffers = pickle.loads(buffer), []
        else:
            self._buffers.append(buffer)
        header, buffers = self._header, self._buffers
        assert header is not None
        if len(buffers) == header.buffers:
            self._header = None
            self._held.add(header.key)
            shared_values.put(header.key, lambda: load_value(header.blob, buffers))

    def drop(self, key: str) -> None:
        """Forget one value."""
        if key in self._held:
            self._held.discard(key)
            shared_values.drop(key)

    def close(self) -> None:
        """Forget all values of the session."""
        for key in list(self._held):
            self.drop(key)
