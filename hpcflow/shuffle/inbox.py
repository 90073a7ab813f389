"""The receiving side of one exchange: what has arrived on this rank, and when that is all.

Invariant: until completion everything here is written by the engine thread alone; it takes no lock and no task thread. Frames go to the store as
they come, so they may be spilled before anybody asks for them; frames that come before the exchange is opened here wait in the same way. An
attempt counts only when the end marker of its source lists it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import polars as pl

from hpcflow.comm.base import Buffer
from hpcflow.errors import FrameError, HpcflowError, StepTimeoutError
from hpcflow.native import unpack_frame
from hpcflow.shuffle.exchange_messages import EndMarker, FrameFacts, decompress_frame
from hpcflow.shuffle.exchange_spec import ExchangeSpec


class FrameStore(Protocol):
    """Where frames wait for their consumer; may spill. `put` and `remove` are called on the engine thread too, and must not wait for a task."""

    def put(self, key: tuple[int, ...], frame: Buffer) -> None: ...

    def get(self, key: tuple[int, ...]) -> Buffer: ...

    def remove(self, key: tuple[int, ...]) -> None: ...


class _Stored:
    """A frame in the store."""

    __slots__ = ("compressed", "facts", "key", "unreleased")

    def __init__(self, key: tuple[int, ...], facts: FrameFacts) -> None:
        self.key = key
        self.facts = facts
        self.compressed = facts.compressed
        self.unreleased = {facts.first_partition + index for index, rows in enumerate(_partition_rows(facts)) if rows}


class Inbox:
    """Frames and end markers of one step on this rank."""

    def __init__(self, step: int, rank: int, store: FrameStore) -> None:
        self.step = step
        self.frames_received = self.messages_received = self.bytes_received = self.rows_received = 0
        self._rank = rank
        self._store = store
        self._spec: ExchangeSpec | None = None
        self._frames: list[_Stored] = []
        self._markers: dict[int, EndMarker] = {}
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._listeners: list[Callable[[_Stored | None], None]] = []
        self._lock = threading.Lock()  # among task threads, after completion
        self._closed = False
        self._released: set[int] = set()

    # -- engine thread ------------------------------------------------------------------------------------------------------------------------------

    def attach(self, spec: ExchangeSpec) -> None:
        """The exchange has been opened on this rank."""
        self._spec = spec
        self._complete_if_all_ended()

    def take(self, source: int, message: EndMarker | FrameFacts, buffer: Buffer) -> None:
        """A message of this step has arrived."""
        self.messages_received += 1
        if isinstance(message, EndMarker):
            if source in self._markers:
                self.fail(FrameError(f"step {self.step}: rank {source} has sent two end markers: finish() was called twice"))
                return
            self._markers[source] = message
            self._complete_if_all_ended()
            return
        size_bytes = memoryview(buffer).nbytes
        self.frames_received += 1
        self.bytes_received += size_bytes
        self.rows_received += message.rows
        if self._closed:
            return
        key = (message.step, source, message.task, message.attempt, message.sequence, message.first_partition)
        self._store.put(key, buffer)
        frame = _Stored(key, message)
        self._frames.append(frame)
        for listener in self._listeners:
            listener(frame)

    def stream(self, listener: Callable[[_Stored | None], None]) -> None:
        """`listener(frame)` for every frame, those that are there and those to come, then `listener(None)`, also after a failure."""
        for frame in self._frames:
            listener(frame)
        self._listeners.append(listener)
        if self._over.is_set():  # asked after the append: whoever ends the exchange either finds the listener or is found here
            listener(None)

    def notify(self, callback: Callable[[], None]) -> None:
        """Run `callback` on completion, or now."""
        if self._over.is_set():
            if self._error is None:
                callback()
        else:
            self._callbacks.append(callback)

    def drop(self) -> None:
        """Free every frame, and those to come."""
        self._closed = True
        frames, self._frames = self._frames, []
        for frame in frames:
            if frame.unreleased or not _partition_rows(frame.facts):
                frame.unreleased = set()
                self._remove(frame)

    def _complete_if_all_ended(self) -> None:
        spec = self._spec
        if spec is None or self._over.is_set() or (self._rank in spec.owners and not self._markers.keys() >= set(spec.sources)):
            return
        try:
            self._frames = self._committed_frames(spec)
        except HpcflowError as error:
            self.fail(error)
            return
        self._over.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        self._end_stream()

    def _end_stream(self) -> None:
        for listener in tuple(self._listeners):
            listener(None)

    def _committed_frames(self, spec: ExchangeSpec) -> list[_Stored]:
        """The frames of committed attempts in delivery order; the others leave the store. Checks the counts of the end markers."""
        missing: dict[tuple[int, int, int], int] = {}  # (source, task, attempt) -> frames still to be seen
        committed_by: dict[int, tuple[int, int]] = {}
        for source, marker in self._markers.items():
            for task, attempt, frames in marker.attempts:
                if task in committed_by:
                    raise HpcflowError(
                        f"step {self.step}: task {task} was committed by rank {committed_by[task][0]} (attempt {committed_by[task][1]}) and by rank "
                        f"{source} (attempt {attempt}): discard all attempts of a task but one"
                    )
                committed_by[task] = (source, attempt)
                missing[source, task, attempt] = frames
        kept: list[_Stored] = []
        for frame in self._frames:
            source = frame.key[1]
            attempt_key = (source, frame.facts.task, frame.facts.attempt)
            if attempt_key in missing:
                missing[attempt_key] -= 1
                kept.append(frame)
            else:
                self._store.remove(frame.key)
        wrong = {key: count for key, count in missing.items() if count}
        if wrong:
            (source, task, attempt), count = next(iter(wrong.items()))
            raise FrameError(
                f"step {self.step}: {count} frames of task {task}, attempt {attempt} from rank {source} are missing on rank {self._rank}"
            )
        if spec.ordered:
            kept.sort(key=lambda frame: (frame.facts.task, frame.facts.sequence, frame.facts.first_partition))
        return kept

    # -- any thread ---------------------------------------------------------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """End all waits with `error`."""
        if not self._over.is_set():
            self._error = error
            self._over.set()
            self._end_stream()

    @property
    def complete(self) -> bool:
        return self._over.is_set() and self._error is None

    def wait(self, timeout_s: float | None) -> None:
        """Wait for completion. Raises the failure, or StepTimeoutError naming the ranks that have not finished."""
        if not self._over.wait(timeout_s):
            missing = sorted(set(() if self._spec is None else self._spec.sources) - self._markers.keys())
            raise StepTimeoutError(
                f"step {self.step} was not complete on rank {self._rank} after {timeout_s} s: ranks {missing} have "
                f"not finished inserting, {self.frames_received} frames have arrived"
            )
        self._raise_failure()

    def sizes(self) -> dict[int, tuple[int, int]]:
        """Owned partition -> (rows, bytes); bytes are the frames' shared out by rows."""
        spec = self._completed()
        rows = {partition: 0 for partition, owner in enumerate(spec.owners) if owner == self._rank}
        size_bytes = dict.fromkeys(rows, 0)
        for frame in self._frames:
            facts = frame.facts
            for index, count in enumerate(_partition_rows(facts)):
                if count:
                    for partition in rows if spec.broadcast else (facts.first_partition + index,):
                        rows[partition] += count
                        size_bytes[partition] += facts.plain_bytes * count // facts.rows
        return {partition: (rows[partition], size_bytes[partition]) for partition in rows}

    def extract(self, partitions: Sequence[int], keep: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> pl.DataFrame:
        """The rows of these owned partitions; zero copy without `keep`, which sees the rows of one frame at a time."""
        spec = self._completed()
        wanted = self._owned(spec, partitions)
        if wanted & self._released:
            raise HpcflowError(
                f"step {self.step}: partitions {sorted(wanted & self._released)} were released on rank {self._rank}: extract them before"
            )
        tables: list[pl.DataFrame] = []
        for frame in self._frames:
            present = frame.unreleased if spec.broadcast else frame.unreleased & wanted
            if not present:
                continue
            buffer = self._plain(frame)
            counts = _partition_rows(frame.facts)
            if len(present) == sum(1 for count in counts if count):
                found = [unpack_frame(buffer, spec.schema)]
            else:
                found = [unpack_frame(buffer, spec.schema, partition=partition) for partition in sorted(present)]
            tables += found if keep is None else map(keep, found)
        return pl.concat(tables, rechunk=False) if tables else pl.DataFrame(schema=spec.schema)

    def take_out(self, frame: _Stored) -> list[tuple[int, pl.DataFrame]]:
        """`(partition, rows)` of a frame from `stream`, which leaves the store: `extract` does not find these rows again."""
        spec = self._spec
        assert spec is not None
        with self._lock:
            present, frame.unreleased = sorted(frame.unreleased), set()
        if not present:
            return []
        buffer = self._get(frame)
        self._remove(frame)
        if frame.compressed:
            buffer = decompress_frame(buffer)
        if spec.broadcast or len(present) == 1:
            return [(partition, unpack_frame(buffer, spec.schema)) for partition in present]
        return [(partition, unpack_frame(buffer, spec.schema, partition=partition)) for partition in present]

    def release(self, partitions: Iterable[int]) -> None:
        """These partitions are not asked for again: frames without others leave the store (tables extracted from them stay valid)."""
        spec = self._completed()
        wanted = self._owned(spec, partitions)
        with self._lock:
            self._released |= wanted
            owned = {partition for partition, owner in enumerate(spec.owners) if owner == self._rank}
            kept: list[_Stored] = []
            for frame in self._frames:
                if spec.broadcast:  # a frame stands for every partition owned here
                    frame.unreleased = frame.unreleased if owned - self._released else set()
                else:
                    frame.unreleased = frame.unreleased - wanted
                if frame.unreleased:
                    kept.append(frame)
                else:
                    self._remove(frame)
            self._frames = kept

    def _plain(self, frame: _Stored) -> Buffer:
        """The frame's bytes; a compressed one is replaced in the store by its plain form at first use."""
        if not frame.compressed:
            return self._get(frame)
        with self._lock:
            buffer = self._get(frame)
            if frame.compressed:
                buffer = decompress_frame(buffer)
                self._store.remove(frame.key)
                self._store.put(frame.key, buffer)
                frame.compressed = False
            return buffer

    def _remove(self, frame: _Stored) -> None:
        try:
            self._store.remove(frame.key)
        except KeyError:
            if not self._closed:  # else released and dropped at once
                raise

    def _get(self, frame: _Stored) -> Buffer:
        try:
            return self._store.get(frame.key)
        except KeyError:
            self._raise_failure()  # aborted meanwhile
            raise

    def _completed(self) -> ExchangeSpec:
        if not self._over.is_set() or self._spec is None:
            raise HpcflowError(f"step {self.step} is not complete on rank {self._rank} yet: call wait() first")
        self._raise_failure()
        return self._spec

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error

    def _owned(self, spec: ExchangeSpec, partitions: Iterable[int]) -> set[int]:
        wanted = set(partitions)
        for partition in wanted:
            if not 0 <= partition < len(spec.owners) or spec.owners[partition] != self._rank:
                raise HpcflowError(f"step {self.step}: partition {partition} of {len(spec.owners)} is not owned by rank {self._rank}")
        return wanted


def _partition_rows(facts: FrameFacts) -> list[int]:
    return [end - start for start, end in zip(facts.row_offsets, facts.row_offsets[1:], strict=False)]
