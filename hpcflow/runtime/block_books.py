"""The books of a block store: which blocks there are, which may be spilled and in what order. Pure bookkeeping, called under the store's lock.

Invariants: `spillable` holds exactly the blocks that are in memory, not pinned and not on their way to or from disk, least recently used first; every
key is found under each of its first one and two parts, so that dropping all blocks of a step does not look at those of others.

    books = Books()
    books.add(Block(("exchange", 7, 0), "frame", "exchange", b"...", 3))
    books.keys_under(("exchange", 7))
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hpcflow.runtime.scratch import Location

Key = tuple[Any, ...]


@dataclass(frozen=True)
class BlockStoreStatistics:
    """A moment's figures of a block store."""

    blocks: int
    resident_blocks: int
    resident_bytes: int
    """Bytes of the store's blocks in memory."""
    spilled_blocks: int
    spilled_bytes: int
    """Bytes that blocks out of memory will take when they are read back."""
    stored_bytes: int
    """Bytes on disk now, compressed."""
    files: int
    """Open scratch files."""
    spills: int
    """Blocks written so far."""
    written_bytes: int
    reads: int
    """Blocks read back so far."""
    read_bytes: int
    spill_s: float
    """Seconds spent encoding and writing, summed over threads."""


@dataclass(eq=False)
class Block:
    """One block and where it is. `value` is None while it is on disk only, `place` while it has never been written."""

    key: Key
    kind: Literal["frame", "table"]
    owner: str
    value: Any
    size_bytes: int
    pins: int = 0
    place: Location | None = None
    writing: bool = False
    reading: bool = False
    removed: bool = False


class Books:
    """See the module."""

    def __init__(self) -> None:
        self._blocks: dict[Key, Block] = {}
        self._by_prefix: dict[Key, dict[Key, None]] = {}
        self.spillable: OrderedDict[Key, Block] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks.values())

    def find(self, key: Key) -> Block:
        """The block; `KeyError` when there is none."""
        block = self._blocks.get(key)
        if block is None:
            raise KeyError(f"no block {key} in the store")
        return block

    def add(self, block: Block) -> None:
        """Enter a block; `KeyError` when its key is taken."""
        if block.key in self._blocks:
            raise KeyError(f"block {block.key} is in the store already")
        self._blocks[block.key] = block
        for prefix in _prefixes(block.key):
            self._by_prefix.setdefault(prefix, {})[block.key] = None
        self.offer(block)

    def offer(self, block: Block, first: bool = False) -> None:
        """Make the block spillable if it may be: as the last to go, or as the first."""
        if block.value is not None and not (block.pins or block.writing or block.reading or block.removed):
            self.spillable[block.key] = block
            self.spillable.move_to_end(block.key, last=not first)

    def touch(self, block: Block) -> None:
        """It was used: others go before it."""
        if block.key in self.spillable:
            self.spillable.move_to_end(block.key)

    def keys_under(self, prefix: Key) -> list[Key]:
        """Keys that begin so, in the order they came."""
        if not prefix:
            return list(self._blocks)
        return [key for key in self._by_prefix.get(prefix[:2], ()) if key[: len(prefix)] == prefix]

    def take_out(self, keys: Sequence[Key]) -> list[Block]:
        """Strike the blocks out; they are marked as removed for whoever is writing or reading them."""
        taken = [self._blocks.pop(key) for key in keys]
        for block in taken:
            block.removed = True
            self.spillable.pop(block.key, None)
            for prefix in _prefixes(block.key):
                self._by_prefix[prefix].pop(block.key)
                if not self._by_prefix[prefix]:
                    del self._by_prefix[prefix]
        return taken


def _prefixes(key: Key) -> set[Key]:
    return {key[:1], key[:2]}
