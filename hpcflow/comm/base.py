"""The message layer as the engine sees it: ranks that send buffers to each other without blocking.

Invariant: messages of one pair of ranks are matched in the order in which they were sent, whatever their tags; no call of a `Comm` blocks, except
`close`, which is collective where the implementation says so. A `Comm` is used by one thread at a time: the engine's.

    request = comm.isend(b"hello", destination=1, tag=CONTROL)
    while not request.test(): ...
    # on rank 1
    incoming = comm.poll()                       # None until a message is there
    buffer = bytearray(incoming.size_bytes)
    receive = incoming.receive_into(buffer)
    while not receive.test(): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

CONTROL: Final = 1
"""Tag of the messages between master and workers."""
EXCHANGE: Final = 2
"""Tag of frames and of what belongs to them (end markers, compressed frames)."""
UNIT_BYTES: Final = 64
"""Frames are padded to multiples of this; counts above 2 GiB are expressed in it."""

Buffer = Any
"""Anything with the buffer protocol: bytes, bytearray, memoryview, a NumPy array, `hpcflow.native.Arena`."""


class SendRequest(Protocol):
    """A message on its way out. The buffer is kept referenced by the request until `test` has said True."""

    def test(self) -> bool:
        """True once the buffer may be reused. Makes progress; never blocks."""


class ReceiveRequest(Protocol):
    """A matched message on its way in."""

    def test(self) -> bool:
        """True once all bytes are in the buffer. Makes progress; never blocks."""


class Incoming(Protocol):
    """A message that has been matched and is still to be received; it must be received exactly once."""

    source: int
    tag: int
    size_bytes: int

    def receive_into(self, buffer: Buffer) -> ReceiveRequest:
        """Start receiving into a writable `buffer` of at least `size_bytes` bytes."""


class Comm(Protocol):
    """One rank's end of a group of ranks."""

    rank: int
    size: int
    node_ranks: tuple[int, ...]
    """The ranks, this one among them, that can share memory with it."""

    def isend(self, buffer: Buffer, destination: int, tag: int) -> SendRequest:
        """Start sending all bytes of a contiguous buffer (any length, 0 and above 2 GiB included)."""

    def poll(self) -> Incoming | None:
        """Match one message that has arrived, or say None at once."""

    def set_waker(self, wake: Callable[[], None]) -> bool:
        """Ask for `wake()` (quick, any thread) after each arrival or completion. False: not offered, the caller has to poll."""

    def close(self) -> None:
        """Give the communicator back. Collective over MPI: it may wait for the other ranks, so callers bound their wait."""

    def abort(self, exit_code: int) -> None:
        """End this rank for good, without waiting for anybody; the others fail or are ended by the launcher."""
