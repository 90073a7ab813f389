"""Frames that the ranks of a node read where they were packed: this rank's segment, and those of its neighbours.

Invariant: a frame's extent is free again when the array that it was packed through is gone and every rank that was pointed to it has given it back,
which a reader does when the last table over the frame is gone. Nothing here waits: where the segment is full, or a neighbour has not mapped it, the
caller sends the frame instead.

    writer  introduce ------ SegmentOffered ---> maps it        reader
            readers  <----- SegmentMapped ------
            place, point --- FrameInPlace -----> view
            free     <----- FramesBack ---------  ... when its tables are gone
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from hpcflow.comm.base import EXCHANGE, Buffer
from hpcflow.comm.engine import Engine
from hpcflow.errors import FrameError, WorkerLostError
from hpcflow.shuffle.node_messages import FrameInPlace, FramesBack, NodeMessage, SegmentMapped, SegmentOffered, encode_node_message
from hpcflow.shuffle.segment import Segment, attach

LEAST_BYTES: Final = 32 << 10
"""A smaller frame is sent: that is one message, and pointing to it and giving it back are two."""


class PlacedFrame(np.ndarray[Any, np.dtype[np.uint8]]):
    """uint8[bytes of a frame] in this rank's segment."""

    offset: int


class NodeMemory:
    """One rank's part; `take` and `view` are called on the engine thread, the rest on any.

    Args:
        segment: this rank's; closed here.
        neighbours: the other ranks of its node.
        least_bytes: of a frame that is worth it.
    """

    def __init__(self, engine: Engine, segment: Segment, neighbours: Iterable[int], least_bytes: int = LEAST_BYTES) -> None:
        self.least_bytes = least_bytes
        self.readers: frozenset[int] = frozenset()
        """Neighbours that have mapped this rank's segment: they can be pointed to frames."""
        self._engine = engine
        self._segment = segment
        self._neighbours = tuple(neighbours)
        self._introduced = self._closed = False
        self._references: dict[int, int] = {}  # offset of a frame -> who still needs it: its array here, and readers
        self._dropped: deque[int] = deque()  # offsets, one for each reference that is gone; finalizers only append
        self._lock = threading.Lock()  # references and the segment's extents
        self._mapped: dict[bytes, memoryview] = {}  # stamp -> a neighbour's segment
        self._read: deque[tuple[int, bytes, int]] = deque()  # (rank, stamp, offset) to give back

    # -- writer -------------------------------------------------------------------------------------------------------------------------------------

    def introduce(self) -> None:
        """Offer the segment to the neighbours, the first time."""
        with self._lock:
            first, self._introduced = not self._introduced, True
        if first:
            for rank in self._neighbours:
                self._engine.send(rank, EXCHANGE, encode_node_message(SegmentOffered(self._segment.address)))

    def place(self, size_bytes: int) -> PlacedFrame | None:
        """Memory for a frame, or None when there is no room."""
        with self._lock:
            self._free_dropped()
            offset = self._segment.allocate(size_bytes)
            if offset is None:
                return None
            self._references[offset] = 1
            memory = self._segment.memory
        frame = np.frombuffer(memory, np.uint8, size_bytes, offset).view(PlacedFrame)
        frame.offset = offset
        weakref.finalize(frame, self._dropped.append, offset).atexit = False
        return frame

    def point(self, step: int, frame: PlacedFrame) -> bytes:
        """The message that lets one reader have the frame; to be sent."""
        with self._lock:
            self._references[frame.offset] += 1
        return encode_node_message(FrameInPlace(step, self._segment.address.stamp, frame.offset, frame.nbytes))

    @property
    def placed_bytes(self) -> int:
        """Of frames that are packed, on their way or read."""
        with self._lock:
            self._free_dropped()
            return self._segment.allocated_bytes

    def close(self) -> None:
        """The session is over: no neighbour maps the segment from now on. Frames that are still read stay where they are."""
        with self._lock:
            self._segment.close()
        self._closed = True
        self._mapped.clear()

    def _free_dropped(self) -> None:
        while self._dropped:
            offset = self._dropped.popleft()
            self._references[offset] -= 1
            if not self._references[offset]:
                del self._references[offset]
                self._segment.free(offset)

    # -- reader -------------------------------------------------------------------------------------------------------------------------------------

    def take(self, source: int, message: NodeMessage) -> None:
        """What a neighbour says about its segment or about this rank's."""
        if self._closed:
            return
        if isinstance(message, SegmentOffered):
            memory = attach(message.address)
            if memory is not None:
                self._mapped[message.address.stamp] = memory
                self._send(source, SegmentMapped(message.address.stamp))
        elif message.stamp != self._segment.address.stamp:  # of an earlier session
            return
        elif isinstance(message, SegmentMapped):
            self.readers |= {source}
        elif isinstance(message, FramesBack):
            self._dropped.extend(message.offsets)

    def view(self, source: int, message: FrameInPlace) -> Buffer | None:
        """The frame, uint8[bytes], read-only; it is given back when the last reference to the array is gone. None after `close`."""
        memory = self._mapped.get(message.stamp)
        if memory is None:
            if self._closed:
                return None
            raise FrameError(f"step {message.step}: rank {source} points to a frame in memory that this rank has not mapped")
        frame = np.frombuffer(memory, np.uint8, message.size_bytes, message.offset).view(PlacedFrame)
        weakref.finalize(frame, self._done_with, source, message.stamp, message.offset).atexit = False
        return frame

    def _done_with(self, source: int, stamp: bytes, offset: int) -> None:
        self._read.append((source, stamp, offset))
        self._engine.call(self._give_back)

    def _give_back(self) -> None:
        given: dict[tuple[int, bytes], list[int]] = {}
        while self._read:
            source, stamp, offset = self._read.popleft()
            given.setdefault((source, stamp), []).append(offset)
        for (source, stamp), offsets in given.items():
            self._send(source, FramesBack(stamp, tuple(offsets)))

    def _send(self, rank: int, message: NodeMessage) -> None:
        with contextlib.suppress(WorkerLostError):  # the engine stops: nobody will place another frame
            self._engine.send(rank, EXCHANGE, encode_node_message(message))


def open_node_memory(engine: Engine, size_bytes: int, least_bytes: int = LEAST_BYTES) -> NodeMemory | None:
    """This rank's part, with a segment of at most `size_bytes`; None where it has no neighbours, or no such memory."""
    neighbours = tuple(rank for rank in engine.comm.node_ranks if rank != engine.rank)
    segment = Segment.create(size_bytes) if neighbours else None
    return None if segment is None else NodeMemory(engine, segment, neighbours, least_bytes)
