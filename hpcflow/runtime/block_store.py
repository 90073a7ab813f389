"""BlockStore: the blocks a worker holds, in memory as long as the budget allows, else compressed on scratch disk.

Two kinds of blocks stand under hashable tuple keys: frames (any buffer; the `FrameStore` that the exchange fills) and tables (DataFrames: task
output, cached datasets). A block is in one of four states:

    RESIDENT --spill--> WRITING --written--> SPILLED --get--> READING --> RESIDENT      a block read back keeps its place on disk until it is
        ^                  |                                                           removed, so evicting it again writes nothing
        +---disk full------+

Invariants: `put` takes no part in disk I/O and does not wait (it may run on the engine thread); a spill thread works when the budget is passed, and
the threads that call `get`, `put_table` and `get_table` help until it is met again, so memory above the budget is bounded by what arrives while
blocks are written (`overshoot_bytes` lets an exchange hold back its senders); least recently used blocks go first, pinned ones never; no lock is held
during I/O.

    store = BlockStore(MemoryBudget(1 << 30), ["/local/scratch"])
    store.put_table(("cache", 7, 0), df)
    store.get_table(("cache", 7, 0))
    store.remove_prefix(("cache", 7))
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, cast

import polars as pl

from hpcflow.errors import SpillError
from hpcflow.events import Event, SpillRead, SpillWritten
from hpcflow.runtime.block_books import Block, BlockStoreStatistics, Books, Key
from hpcflow.runtime.file_systems import default_scratch
from hpcflow.runtime.memory import MemoryBudget
from hpcflow.runtime.resident import compact, resident_bytes
from hpcflow.runtime.scratch import Location, ScratchSpace
from hpcflow.runtime.spill_format import Codec, decode_frame, decode_table, encode_frame, encode_table, refuse_object_columns

_LOW_WATER = 0.9  # of the limit: the spill thread goes on to here, so that it does not wake for every block
_RETRY_S = 1.0  # after a failed spill, before the spill thread tries again


class BlockStore:
    """Thread-safe.

    Args:
        budget: what the store's blocks are counted in; other owners may share it.
        scratch_dirs: directories for spilled blocks, see `ScratchSpace`; checked at once, written to when memory is short. None: `default_scratch`.
        compression: of spilled blocks: none, lz4, zstd.
        pool: an `ArenaPool`; frames read back are put into its arenas. None: into plain memory.
        emit: called with `SpillWritten` and `SpillRead` records, on the thread that spills or reads; may be set later.
        on_failure: called on the spill thread when a background spill fails, once until one succeeds; may be set later.
    """

    def __init__(
        self,
        budget: MemoryBudget,
        scratch_dirs: Sequence[str | os.PathLike[str]] | None = None,
        compression: Codec = "lz4",
        pool: Any = None,
        *,
        emit: Callable[[Event], None] | None = None,
        on_failure: Callable[[SpillError], None] | None = None,
    ) -> None:
        self.budget = budget
        self.scratch = ScratchSpace(default_scratch(os.environ) if scratch_dirs is None else scratch_dirs)
        self._compression: Codec = compression
        self._pool = pool
        self.emit = emit
        self.on_failure = on_failure
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._books = Books()
        self._writing_bytes = 0
        self._spills = self._written_bytes = self._reads = self._read_bytes = 0
        self._spill_s = 0.0
        self._failure: SpillError | None = None
        self._closed = False
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._forget_listener = budget.on_over(self._wake_spiller)

    # -- frames: the FrameStore protocol -------------------------------------------------------------------------------------------------

    def put(self, key: Key, frame: Any, owner: str = "exchange") -> None:
        """Keep a buffer. Never waits; a key that is there is an error (`KeyError`)."""
        self._insert(Block(key, "frame", owner, frame, memoryview(frame).nbytes))

    def get(self, key: Key) -> Any:
        """The buffer, read back when it was spilled; the caller's reference stays valid whatever happens to the block.

        Raises:
            KeyError: no such block. SpillError: it cannot be read back, or an earlier spill failed and memory is short.
        """
        return self._obtain(key, "frame")

    # -- tables --------------------------------------------------------------------------------------------------------------------------

    def put_table(self, key: Key, df: pl.DataFrame, owner: str | None = None, to_scratch: bool = False) -> None:
        """Keep a DataFrame, compacted; spills on this thread when that takes the store over its budget. Not for the engine thread.

        Args:
            owner: account of the budget; by default `cache` for keys that begin so, `blocks` for others.
            to_scratch: to disk at once and out of memory, whatever the budget says.

        Raises:
            KeyError: the key is there. SchemaError: an Object column. SpillError: disk full.
        """
        refuse_object_columns(df)
        owner = owner or ("cache" if key[:1] == ("cache",) else "blocks")
        kept = compact(df)
        self._insert(Block(key, "table", owner, kept, resident_bytes(kept)))
        try:
            if to_scratch:
                self._spill(key)
            self.make_room()
        except SpillError:
            self.remove(key)
            raise

    def get_table(self, key: Key) -> pl.DataFrame:
        """The DataFrame; errors as `get`."""
        return cast(pl.DataFrame, self._obtain(key, "table"))

    # -- both ----------------------------------------------------------------------------------------------------------------------------

    def pin(self, key: Key) -> None:
        """Keep the block in memory until as many `unpin`s; one that is spilled is read back at its next `get`."""
        with self._lock:
            block = self._books.find(key)
            block.pins += 1
            self._books.spillable.pop(key, None)

    def unpin(self, key: Key) -> None:
        """Take one pin off."""
        with self._lock:
            block = self._books.find(key)
            if not block.pins:
                raise ValueError(f"block {key} is not pinned")
            block.pins -= 1
            self._books.offer(block)
        if self.budget.over_bytes:
            self._wake_spiller(0)

    def remove(self, key: Key) -> None:
        """Forget the block, its memory and its place on disk. `KeyError` when it is not there."""
        with self._lock:
            self._books.find(key)
            freed = self._books.take_out([key])
        self._dispose(freed)

    def remove_prefix(self, prefix: Key) -> int:
        """Forget all blocks whose key begins so, pinned ones too; returns how many."""
        with self._lock:
            freed = self._books.take_out(self._books.keys_under(prefix))
        self._dispose(freed)
        return len(freed)

    def keys(self, prefix: Key = ()) -> list[Key]:
        """Keys of the blocks whose key begins so, in the order they came."""
        with self._lock:
            return self._books.keys_under(prefix)

    def __contains__(self, key: Key) -> bool:
        return key in self._books

    def __len__(self) -> int:
        return len(self._books)

    @property
    def overshoot_bytes(self) -> int:
        """Bytes above the budget that spilling has yet to give back; an exchange holds credits back while this is high."""
        return self.budget.over_bytes

    def make_room(self) -> None:
        """Spill until the budget is met or nothing may go, and wait for what other threads are writing: the back-pressure of tasks.

        `put_table`, `get` and `get_table` do it by themselves; a task calls it before it produces frames for others. Not for the engine thread.
        """
        while True:
            self._spill_down_to(self.budget.limit_bytes)
            with self._lock:
                if not (self._writing_bytes and self.budget.over_bytes) or self._closed:
                    return
                self._changed.wait(_RETRY_S)

    def spill_all(self) -> int:
        """Spill every block that is not pinned, on this thread; returns how many went."""
        count = 0
        while self._spill_one():
            count += 1
        return count

    def statistics(self) -> BlockStoreStatistics:
        """Figures of this moment."""
        with self._lock:
            blocks = list(self._books)
            resident = [block.size_bytes for block in blocks if block.value is not None]
            return BlockStoreStatistics(
                blocks=len(blocks),
                resident_blocks=len(resident),
                resident_bytes=sum(resident),
                spilled_blocks=len(blocks) - len(resident),
                spilled_bytes=sum(block.size_bytes for block in blocks) - sum(resident),
                stored_bytes=sum(block.place.size_bytes for block in blocks if block.place is not None),
                files=self.scratch.segments,
                spills=self._spills,
                written_bytes=self._written_bytes,
                reads=self._reads,
                read_bytes=self._read_bytes,
                spill_s=self._spill_s,
            )

    def close(self) -> None:
        """Forget everything and end the spill thread; the scratch space is free afterwards. Safe to call twice."""
        self._forget_listener()
        with self._lock:
            self._closed = True
            freed = self._books.take_out(self._books.keys_under(()))
            self._changed.notify_all()
        self._closing.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._dispose(freed)
        self.scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- inside: memory ------------------------------------------------------------------------------------------------------------------

    def _dispose(self, blocks: Sequence[Block]) -> None:
        """Give back what removed blocks hold; a thread that is writing or reading one does it at its end."""
        for block in blocks:
            with self._lock:
                if block.writing or block.reading:
                    continue
                held = block.size_bytes if block.value is not None else 0
                block.value, place, block.place = None, block.place, None
            self.budget.release(block.owner, held)
            if place is not None:
                self.scratch.free(place)

    def _insert(self, block: Block) -> None:
        self.budget.reserve(block.owner, block.size_bytes)
        try:
            with self._lock:
                if self._closed:
                    raise KeyError("the block store is closed")
                self._books.add(block)
        except KeyError:
            self.budget.release(block.owner, block.size_bytes)
            raise
        if self.budget.over_bytes:
            self._wake_spiller(0)  # again: the listener was called before the block could be found

    def _obtain(self, key: Key, kind: str) -> Any:
        self._retry_failed_spill()
        with self._lock:
            block = self._books.find(key)
            while block.reading and not block.removed:
                self._changed.wait()
            if block.removed or block.kind != kind:
                raise KeyError(f"block {key} " + ("was removed" if block.removed else f"is a {block.kind}, not a {kind}"))
            if block.value is not None:
                self._books.touch(block)
                return block.value
            block.reading = True
        return self._read_back(block)

    def _read_back(self, block: Block) -> Any:
        self.budget.reserve(block.owner, block.size_bytes)
        value = None
        try:
            self.make_room()
            value = self._decode(block)
            return value
        finally:
            with self._lock:
                block.reading = False
                kept = value is not None and not block.removed  # asked once: from here on a remover disposes of what was kept
                if kept:
                    block.value = value
                self._books.offer(block)
                self._changed.notify_all()
            if not kept:
                self.budget.release(block.owner, block.size_bytes)
            if block.removed:
                self._dispose([block])

    def _decode(self, block: Block) -> Any:
        assert block.place is not None
        started = time.perf_counter()
        payload = self.scratch.read(block.place)
        value = decode_frame(payload, self._pool) if block.kind == "frame" else decode_table(payload)
        seconds = time.perf_counter() - started
        with self._lock:
            self._reads += 1
            self._read_bytes += block.place.size_bytes
        if self.emit is not None:
            self.emit(SpillRead(owner=block.owner, stored_bytes=block.place.size_bytes, resident_bytes=block.size_bytes, seconds=seconds))
        return value

    # -- inside: spilling ----------------------------------------------------------------------------------------------------------------

    def _spill_down_to(self, limit_bytes: float) -> None:
        while self.budget.resident_bytes - self._writing_bytes > limit_bytes and self._spill_one():
            pass

    def _spill_one(self) -> bool:
        """Take the least recently used block out of memory; False when there is none."""
        with self._lock:
            if not self._books.spillable or self._closed:
                return False
            block, value = self._begin_spill(next(iter(self._books.spillable)))
        self._finish_spill(block, value)
        return True

    def _spill(self, key: Key) -> None:
        with self._lock:
            if key not in self._books.spillable:  # another thread has taken it already
                return
            block, value = self._begin_spill(key)
        self._finish_spill(block, value)

    def _begin_spill(self, key: Key) -> tuple[Block, Any]:
        block = self._books.spillable.pop(key)
        value = block.value
        if block.place is not None:  # it has been written before: only its memory goes
            block.value = None
            self.budget.release(block.owner, block.size_bytes)
        else:
            block.writing = True
            self._writing_bytes += block.size_bytes
        return block, value

    def _finish_spill(self, block: Block, value: Any) -> None:
        if not block.writing:
            return
        place = None
        try:
            place = self._encode(block, value)
        finally:
            self._end_writing(block, place)

    def _end_writing(self, block: Block, place: Location | None) -> None:
        with self._lock:
            block.writing = False
            block.place = place
            self._writing_bytes -= block.size_bytes
            dropped = place is not None and not block.pins and not block.removed
            if dropped:
                block.value = self._failure = None
                self.budget.release(block.owner, block.size_bytes)
            else:
                self._books.offer(block, first=True)
            self._changed.notify_all()
        if block.removed:
            self._dispose([block])

    def _encode(self, block: Block, value: Any) -> Location:
        started = time.perf_counter()
        parts = encode_frame(value, self._compression) if block.kind == "frame" else encode_table(value, self._compression)
        place = self.scratch.write(*parts)
        seconds = time.perf_counter() - started
        with self._lock:
            self._spills += 1
            self._written_bytes += place.size_bytes
            self._spill_s += seconds
        if self.emit is not None:
            stored = place.size_bytes
            self.emit(
                SpillWritten(owner=block.owner, resident_bytes=block.size_bytes, stored_bytes=stored, seconds=seconds, directory=place.directory)
            )
        return place

    def _wake_spiller(self, over_bytes: int) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._spill_until_closed, name="hpcflow-spill", daemon=True)
                    self._thread.start()
        self._wake.set()

    def _spill_until_closed(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            if self._closed or not self.budget.over_bytes:
                continue
            try:
                self._spill_down_to(self.budget.limit_bytes * _LOW_WATER)
            except Exception as error:
                self._report(error if isinstance(error, SpillError) else SpillError(f"spilling a block failed: {type(error).__name__}: {error}"))
                self._closing.wait(_RETRY_S)

    def _report(self, error: SpillError) -> None:
        first, self._failure = self._failure is None, error
        if first and self.on_failure is not None:
            self.on_failure(error)

    def _retry_failed_spill(self) -> None:
        """A background spill that failed is tried again, and raised, where a task can take the error; as long as memory is short."""
        if self._failure is not None and self.budget.over_bytes:
            self.make_room()
