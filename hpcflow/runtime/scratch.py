"""ScratchSpace: bytes on disk for a job, gone when the job ends however it ends.

Blocks are appended to segments, large files that have no name: opened with `O_TMPFILE`, or made 0600 and unlinked at once where the file system
lacks it. The kernel frees them with the last descriptor, so a killed job leaves nothing behind, nothing half-written can be found, and nobody else
can open them. A freed block is punched out of its segment where the file system can do that; a segment without blocks is closed.

    segment 0 of /local   | header | payload | pad to 4096 | header | payload | pad |
                                                           ^ Location(segment, offset, size)

Invariant: what `read` returns is what `write` was given, or `SpillError` names the file and place: each block carries its length and checksum.
Thread-safe; no lock is held while bytes are read or written.
"""

from __future__ import annotations

import itertools
import os
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hpcflow.errors import SpillError
from hpcflow.runtime.file_systems import free_bytes, preference, punch_hole

_HEADER = struct.Struct("<4sHHQI4x")  # magic, version, reserved, payload bytes, checksum of what stands before and of the payload
_MAGIC, _VERSION = b"HFSP", 1
_ALIGNMENT = 4096
_SEGMENT_BYTES = (64 << 20, 16 << 30)  # least and most; between them 1/64 of the free space, so that descriptors stay few


@dataclass(eq=False)
class _Segment:
    directory: str
    number: int
    descriptor: int
    size_bytes: int
    used_bytes: int = 0  # only grows: a freed place is never written again, so punching it out needs no lock
    blocks: int = 0
    users: int = 0  # reads, writes and frees on their way: the descriptor's number must not go to another file meanwhile

    def __str__(self) -> str:
        return f"{self.directory} (spill segment {self.number}, descriptor {self.descriptor})"


@dataclass(frozen=True)
class Location:
    """Where a block lies; valid until `free`."""

    segment: _Segment = field(repr=False)
    offset: int
    size_bytes: int
    """Stored bytes, header included."""

    @property
    def directory(self) -> str:
        """Scratch directory that holds it."""
        return self.segment.directory


class ScratchSpace:
    """Writes, reads and frees blocks in one or several directories.

    Args:
        directories: where segments go. Node-local file systems are used before network ones, those in memory (tmpfs) last; among equals in turn,
            leaving out those that lack the space.
    """

    def __init__(self, directories: Sequence[str | os.PathLike[str]]) -> None:
        self.directories = tuple(map(_usable, directories))
        if not self.directories:
            raise SpillError("no scratch directory is given; set scratch= or HPCFLOW_SCRATCH to one or more local directories")
        self._preference = {directory: preference(directory) for directory in self.directories}
        self._lock = threading.Lock()
        self._open: dict[str, _Segment] = {}  # directory -> segment that takes the next block
        self._segments: set[_Segment] = set()
        self._numbers = itertools.count()
        self._turns = itertools.count()
        self._closed = False

    @property
    def segments(self) -> int:
        """Open files."""
        return len(self._segments)

    def write(self, *parts: Any) -> Location:
        """Store the bytes of one or several buffers as one block.

        Raises:
            SpillError: no directory takes them (disk full, gone, not writable).
        """
        views = [memoryview(part).cast("B") for part in parts]
        block = [memoryview(_header(views)), *views]
        size = sum(map(len, block))
        problems = []
        for directory in self._candidates(size):
            try:
                return self._write_to(directory, block, size)
            except OSError as error:
                problems.append(f"{directory}: {error.strerror}, {free_bytes(directory)} bytes free")
        advice = "Free space there, or set HPCFLOW_SCRATCH (or scratch=) to directories with more, or raise memory_budget"
        raise SpillError(f"cannot spill {size} bytes to scratch: {'; '.join(problems)}. {advice}")

    def read(self, location: Location) -> bytes:
        """The payload, checked.

        Raises:
            SpillError: the file is cut or its bytes have changed.
        """
        segment = location.segment
        try:
            with self._using(segment):
                header = os.pread(segment.descriptor, _HEADER.size, location.offset)
                payload = _read_all(segment.descriptor, location.size_bytes - _HEADER.size, location.offset + _HEADER.size)
        except OSError as error:
            raise SpillError(f"cannot read {segment} at byte {location.offset}: {error.strerror}") from None
        if header != _header([payload]):
            what = f"{segment} is damaged: the block of {location.size_bytes} bytes at byte {location.offset} fails its checksum"
            raise SpillError(f"{what}. The disk returned other bytes than were written; set HPCFLOW_SCRATCH to another disk")
        return payload

    def free(self, location: Location) -> None:
        """Give the block's space back; nothing is left to do once the space is closed."""
        if self._closed:
            return
        with self._using(location.segment):
            punch_hole(location.segment.descriptor, location.offset, location.size_bytes)
            with self._lock:
                location.segment.blocks -= 1

    def close(self) -> None:
        """Close all segments; their space is free at once, or when the last read or write under way has ended."""
        with self._lock:
            self._closed = True
            self._open.clear()
            idle = [segment for segment in self._segments if not segment.users]
            self._segments.difference_update(idle)
        for segment in idle:
            os.close(segment.descriptor)

    def _write_to(self, directory: str, block: Sequence[memoryview], size: int) -> Location:
        location = self._reserve(directory, size)
        segment = location.segment
        try:
            with self._using(segment):
                _write_all(segment.descriptor, block, location.offset)
        except OSError:
            self.free(location)
            raise
        return location

    def _candidates(self, size_bytes: int) -> list[str]:
        turn = next(self._turns)
        ranks: dict[int, list[str]] = {}
        for directory in self.directories:
            ranks.setdefault(self._preference[directory], []).append(directory)
        ordered = [same[(turn + i) % len(same)] for _, same in sorted(ranks.items()) for i in range(len(same))]
        roomy = [directory for directory in ordered if free_bytes(directory) > size_bytes + _ALIGNMENT]
        return roomy + [directory for directory in ordered if directory not in roomy]

    def _reserve(self, directory: str, size_bytes: int) -> Location:
        with self._lock:
            segment = self._open.get(directory)
            if self._closed or segment is None or segment.used_bytes + size_bytes > segment.size_bytes:
                segment = self._new_segment(directory)
            location = Location(segment, segment.used_bytes, size_bytes)
            segment.used_bytes += -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
            segment.blocks += 1
            return location

    def _new_segment(self, directory: str) -> _Segment:
        if self._closed:
            raise SpillError("the scratch space is closed: its session has ended")
        least, most = _SEGMENT_BYTES
        segment = _Segment(directory, next(self._numbers), _open_unnamed(directory), min(max(free_bytes(directory) // 64, least), most))
        self._segments.add(segment)
        self._open[directory] = segment
        return segment

    @contextmanager
    def _using(self, segment: _Segment) -> Iterator[None]:
        """Keeps the descriptor open meanwhile; closes it afterwards when the segment holds no block any more."""
        with self._lock:
            if segment not in self._segments:
                raise SpillError("the scratch space is closed: its session has ended")
            segment.users += 1
        try:
            yield
        finally:
            with self._lock:
                segment.users -= 1
                done = not segment.users and (self._closed or not segment.blocks)
                if done:
                    self._segments.discard(segment)
                    if self._open.get(segment.directory) is segment:
                        del self._open[segment.directory]
            if done:
                os.close(segment.descriptor)


def _usable(directory: str | os.PathLike[str]) -> str:
    path = os.path.abspath(os.fspath(directory))
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.close(_open_unnamed(path))
    except OSError as error:
        advice = "set HPCFLOW_SCRATCH (or scratch=) to directories you can write"
        raise SpillError(f"scratch directory {path} cannot be used: {error.strerror}; {advice}") from None
    return path


def _open_unnamed(directory: str) -> int:
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (OSError, AttributeError):  # network and overlay file systems often lack it
        descriptor, name = tempfile.mkstemp(prefix=".hpcflow-spill-", dir=directory)
        os.unlink(name)
        return descriptor


def _header(payload: Sequence[Any]) -> bytes:
    size = sum(map(len, payload))
    checksum = zlib.crc32(_HEADER.pack(_MAGIC, _VERSION, 0, size, 0))
    for part in payload:
        checksum = zlib.crc32(part, checksum)
    return _HEADER.pack(_MAGIC, _VERSION, 0, size, checksum)


def _write_all(descriptor: int, parts: Sequence[memoryview], offset: int) -> None:
    for part in parts:
        while len(part):
            written = os.pwrite(descriptor, part[: 1 << 30], offset)  # one call moves at most 2 GiB
            part, offset = part[written:], offset + written


def _read_all(descriptor: int, size: int, offset: int) -> bytes:
    parts, got = [], 0
    while got < size:
        parts.append(os.pread(descriptor, min(size - got, 1 << 30), offset + got))
        if not parts[-1]:
            break
        got += len(parts[-1])
    return parts[0] if len(parts) == 1 else b"".join(parts)
