"""How the frames of one exchange get from the rank that packs them to the rank that reads them: the strategy behind `Exchange`.

Invariant: what is sent to one rank arrives there in the order of the calls, as messages of `hpcflow.shuffle.exchange_messages`; `send` never waits
for another rank. Whatever the transport, the same frames arrive: a transport decides where they lie and who copies them.

    frame = transport.place(plan.sizes[0], (2,))          # memory to pack a frame for rank 2 into
    plan.write([frame])
    transport.send(2, frame, on_sent=release)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hpcflow.comm.base import EXCHANGE, Buffer
from hpcflow.comm.engine import Engine
from hpcflow.native import ArenaPool
from hpcflow.shuffle.node_memory import NodeMemory, PlacedFrame


class Transport(Protocol):
    """One exchange's way to other ranks, used by task threads."""

    def place(self, size_bytes: int, ranks: tuple[int, ...]) -> Buffer:
        """Writable, 64-byte aligned memory of this size for a frame that these ranks will be sent."""

    def in_place(self, rank: int, message: Buffer) -> bool:
        """Whether `rank` is pointed to this frame instead of being sent it."""

    def send(self, rank: int, message: Buffer, on_sent: Callable[[], None] | None = None) -> None:
        """Let `rank` have a frame or another message, behind all that it was sent before.

        `message` must not change until `on_sent()` has run (on the engine thread).
        """


class Chunks:
    """Point-to-point messages, one a frame: the default, and what the other transports fall back on between ranks that they cannot serve."""

    def __init__(self, engine: Engine, pool: ArenaPool) -> None:
        self._engine = engine
        self._pool = pool

    def place(self, size_bytes: int, ranks: tuple[int, ...]) -> Buffer:
        return self._pool.acquire(size_bytes)

    def in_place(self, rank: int, message: Buffer) -> bool:
        return False

    def send(self, rank: int, message: Buffer, on_sent: Callable[[], None] | None = None) -> None:
        self._engine.send(rank, EXCHANGE, message, on_sent)


class SharedMemory:
    """Ranks of this node are pointed to frames, which they read where they were packed.

    Other ranks get chunks, and so does everyone while there is no room or before the segment has been mapped.
    """

    def __init__(self, step: int, engine: Engine, memory: NodeMemory, chunks: Chunks) -> None:
        self._step = step
        self._engine = engine
        self._memory = memory
        self._chunks = chunks
        memory.introduce()

    def place(self, size_bytes: int, ranks: tuple[int, ...]) -> Buffer:
        frame = None
        if size_bytes >= self._memory.least_bytes and not self._memory.readers.isdisjoint(ranks):
            frame = self._memory.place(size_bytes)
        return self._chunks.place(size_bytes, ranks) if frame is None else frame

    def in_place(self, rank: int, message: Buffer) -> bool:
        return isinstance(message, PlacedFrame) and rank in self._memory.readers

    def send(self, rank: int, message: Buffer, on_sent: Callable[[], None] | None = None) -> None:
        if self.in_place(rank, message):
            self._engine.send(rank, EXCHANGE, self._memory.point(self._step, message), on_sent)
        else:
            self._chunks.send(rank, message, on_sent)
