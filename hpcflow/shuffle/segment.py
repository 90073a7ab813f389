"""Memory of this rank that the other ranks of its node can map: where frames lie that are read in place.

Invariant: an extent belongs to whoever allocated it until `free`; extents are multiples of 64 bytes at multiples of 64 from the start of a page. The
memory is anonymous (a memfd): it has no name in any file system, is no larger than what was written, and is gone with the last process that maps it.
Another process of the same user maps it by the numbers in its `SegmentAddress`, for reading only; a stamp at its head tells a wrong one.

    segment = Segment.create(1 << 30)
    offset = segment.allocate(4096)
    segment.memory[offset : offset + 4096] = b"..."
    there = attach(segment.address)              # in another process of the node: a read-only memoryview
"""

from __future__ import annotations

import bisect
import ctypes
import errno
import mmap
import os
import secrets
import threading
from dataclasses import dataclass
from typing import Final

from hpcflow.comm.base import UNIT_BYTES

_STAMP_BYTES: Final = 16
_HEAD_BYTES: Final = mmap.PAGESIZE
_COMMIT_BYTES: Final = 8 << 20
_MADV_POPULATE_WRITE: Final = 23  # Linux 5.14


@dataclass(frozen=True, slots=True)
class SegmentAddress:
    """What another process of the node needs to find a segment."""

    process: int
    descriptor: int
    size_bytes: int
    stamp: bytes
    """Random; the first bytes of the segment, and its name in messages."""


class Segment:
    """Allocates extents of one piece of shared memory; first fit, so that pages which were used before are used again. Thread-safe."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Use `create`."""
        mapping = mmap.mmap(descriptor, size_bytes)  # lives as long as a view of it
        self._descriptor = descriptor
        self.memory = memoryview(mapping)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        self.address = SegmentAddress(os.getpid(), descriptor, size_bytes, secrets.token_bytes(_STAMP_BYTES))
        self.memory[:_STAMP_BYTES] = self.address.stamp
        self._starts = [_HEAD_BYTES]  # of the free extents, in order; `_sizes` beside it
        self._sizes = [size_bytes - _HEAD_BYTES]
        self._taken: dict[int, int] = {}  # offset -> size
        self._committed = _HEAD_BYTES  # pages up to here are there
        self._lock = threading.Lock()

    @classmethod
    def create(cls, size_bytes: int) -> Segment | None:
        """A segment of at most `size_bytes`, or None where the system has no anonymous shared memory (it is Linux') or gives none."""
        size_bytes = size_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        if not hasattr(os, "memfd_create") or size_bytes <= _HEAD_BYTES:
            return None
        try:
            descriptor = os.memfd_create("hpcflow", os.MFD_CLOEXEC)
            try:
                os.ftruncate(descriptor, size_bytes)
                return cls(descriptor, size_bytes)
            except BaseException:
                os.close(descriptor)
                raise
        except (OSError, ValueError):
            return None

    def allocate(self, size_bytes: int) -> int | None:
        """The offset of a free extent, or None when none is large enough, or after `close`."""
        wanted = max(UNIT_BYTES, -(-size_bytes // UNIT_BYTES) * UNIT_BYTES)
        with self._lock:
            if self._descriptor < 0:
                return None
            for index, size in enumerate(self._sizes):
                if size >= wanted:
                    offset = self._starts[index]
                    if not self._commit(offset + wanted):
                        return None
                    if size == wanted:
                        del self._starts[index], self._sizes[index]
                    else:
                        self._starts[index], self._sizes[index] = offset + wanted, size - wanted
                    self._taken[offset] = wanted
                    return offset
        return None

    def free(self, offset: int) -> None:
        """Give an extent back, once."""
        with self._lock:
            size = self._taken.pop(offset)
            index = bisect.bisect(self._starts, offset)
            if index < len(self._starts) and offset + size == self._starts[index]:
                size += self._sizes[index]
                del self._starts[index], self._sizes[index]
            if index and self._starts[index - 1] + self._sizes[index - 1] == offset:
                self._sizes[index - 1] += size
            else:
                self._starts.insert(index, offset)
                self._sizes.insert(index, size)

    def _commit(self, end: int) -> bool:
        """Have pages up to `end`; False when the system has none left, which a write into the mapping would learn by SIGBUS."""
        if end <= self._committed:
            return True
        stop = min(len(self.memory), -(-end // _COMMIT_BYTES) * _COMMIT_BYTES)
        if _populate(self._address + self._committed, stop - self._committed):
            self._committed = stop
            return True
        return False

    @property
    def allocated_bytes(self) -> int:
        with self._lock:
            return sum(self._taken.values())

    def close(self) -> None:
        """Nothing more is allocated, and no process can map it from now on. Who has it mapped, and who holds a part of `memory`, keeps it."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            self.memory = memoryview(b"")
        if descriptor >= 0:
            os.close(descriptor)


def _populate(address: int, size_bytes: int) -> bool:
    """Make the system find memory for these pages now (without the GIL). True as well where the kernel does not offer it."""
    if _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size_bytes), _MADV_POPULATE_WRITE) == 0:
        return True
    return ctypes.get_errno() == errno.EINVAL


_libc = ctypes.CDLL(None, use_errno=True)


def attach(address: SegmentAddress) -> memoryview | None:
    """The memory of another process's segment, read-only; None where it cannot be had: another host, another user, a container of its own."""
    try:
        descriptor = os.open(f"/proc/{address.process}/fd/{address.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        mapping = mmap.mmap(descriptor, address.size_bytes, prot=mmap.PROT_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    return memoryview(mapping) if mapping[:_STAMP_BYTES] == address.stamp else None
