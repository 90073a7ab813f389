"""What an exchange is asked to do, and what it has done: values without behaviour.

spec = ExchangeSpec(step=4, owners=(1, 1, 2, 2), sources=(1, 2), schema=df.schema)     # 4 partitions on 2 workers
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from hpcflow.errors import ConfigError

Compression = Literal["none", "lz4", "zstd"]
TransportName = Literal["chunks", "shared memory"]


@dataclass(frozen=True)
class ExchangeSpec:
    """One exchange, the same value on every rank that takes part.

    Raises:
        ConfigError: no partition, no source, or a size below 1.
    """

    step: int
    """Number in the master's one sequence of steps; no two exchanges of a session share it."""
    owners: tuple[int, ...]
    """Partition -> rank that receives it. Adjacent partitions of one rank travel in one frame."""
    sources: tuple[int, ...]
    """Ranks that insert; each has to call `finish`."""
    schema: pl.Schema
    """Of every table inserted."""
    ordered: bool = True
    """Deliver by (source task, sequence), else by arrival."""
    broadcast: bool = False
    """Every chunk goes to every owner as its one partition."""
    compression: Compression = "none"
    """Of frames that leave the rank."""
    transport: TransportName = "chunks"
    """How frames get to other ranks: as messages, or read in place by ranks of the same node unless they are compressed (see `transport`)."""
    window_bytes: int = 16 << 20
    """Bytes under way per rank before `insert` waits."""
    chunk_bytes: int = 2 << 20
    """Aimed size of one frame."""

    def __post_init__(self) -> None:
        if not self.owners or not self.sources:
            raise ConfigError(
                f"exchange {self.step} has {len(self.owners)} partitions and {len(self.sources)} sources: it needs at least one of each"
            )
        if self.window_bytes < 1 or self.chunk_bytes < 1:
            raise ConfigError(f"exchange {self.step}: window_bytes={self.window_bytes} and chunk_bytes={self.chunk_bytes} must be positive")

    def runs(self) -> tuple[tuple[int, int, int], ...]:
        """`(rank, first partition, end)` of each run of adjacent partitions with one owner, in partition order."""
        starts = [0, *(index for index in range(1, len(self.owners)) if self.owners[index] != self.owners[index - 1])]
        ends = [*starts[1:], len(self.owners)]
        return tuple((self.owners[start], start, end) for start, end in zip(starts, ends, strict=True))


@dataclass(frozen=True)
class ExchangeStats:
    """What one rank has moved for one exchange so far. Rows count for every destination; self-delivery is included."""

    rows_sent: int = 0
    rows_received: int = 0
    bytes_sent: int = 0
    """On the wire: after compression."""
    bytes_received: int = 0
    bytes_in_place: int = 0
    """Of those sent: what readers were pointed to in shared memory."""
    frames_sent: int = 0
    frames_received: int = 0
    messages_sent: int = 0
    """Frames and end markers."""
    messages_received: int = 0
    rows_by_destination: tuple[tuple[int, int], ...] = ()
    """(rank, rows sent to it), by rank."""
    blocked_s: float = 0.0
    """Seconds that inserting threads waited for the window, summed over threads."""
    waiting_s: float = 0.0
    """Seconds spent in `wait`."""
