"""What every rank has entered, known to all: the bookkeeping under CheckedComm.

Invariant: the k-th entry that a rank announces is compared with the k-th of every other rank, and no collective runs before its entry and all
earlier ones were found to fit (a nonblocking one: no Wait ends before). Whatever differs is seen by all ranks, since all have all entries; a
rank that waits for an entry names who is missing.

    entry k of rank 0:  Allreduce(op=SUM) at job.py:12
    entry k of rank 1:  Bcast(root=0) at job.py:20               -> CollectiveMismatchError on both
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hpcflow.bsp.stack_alarm import StackAlarm
from hpcflow.errors import CollectiveMismatchError

ENTRY_TAG: Final = 1
_REST_S: Final = 1.0  # after a mismatch is known: how long to wait for the entries of the others, to name them
_SPINS: Final = 200
_ANYWHERE: Final = frozenset({"Split", "Free"})  # ranks may call these from branches of their own

LEFT: Final = "left"
"""The call of an entry that says: this rank has left the user's function."""


@dataclass(frozen=True)
class Entry:
    """One rank's collective call."""

    call: str
    root: int | None
    op: str | None
    site: str
    """`file:line in function` of the user's code."""

    def __str__(self) -> str:
        arguments = [f"{name}={value}" for name, value in (("root", self.root), ("op", self.op)) if value is not None]
        return f"{self.call}({', '.join(arguments)}) at {self.site}"


class CollectiveLedger:
    """This rank's entries and those heard from the others, on a private communicator."""

    def __init__(self, private: Any, mpi: Any, timeout_s: float, same_sites: bool, alarm: StackAlarm) -> None:
        self._private = private
        self._mpi = mpi
        self._timeout_s = timeout_s
        self._same_sites = same_sites
        self._alarm = alarm
        self._entries: list[list[Entry]] = [[] for _ in range(private.size)]
        self._verified = 0
        self._sends: list[Any] = []

    def enter(self, entry: Entry) -> int:
        """Announce this rank's next entry; its number."""
        self._sends = [send for send in self._sends if not send.test()[0]]
        self._sends += [self._private.isend(entry, dest=peer, tag=ENTRY_TAG) for peer in range(self._private.size) if peer != self._private.rank]
        own = self._entries[self._private.rank]
        own.append(entry)
        return len(own) - 1

    def verify(self, number: int, timeout_s: float | None = None) -> None:
        """Wait until the entries up to `number` of all ranks are here and fit.

        Raises:
            CollectiveMismatchError: they do not fit, or a rank has not come within the time (0: no limit).
        """
        while self._verified <= number:
            self._verify_next(self._timeout_s if timeout_s is None else timeout_s)

    def verified(self, number: int) -> bool:
        """Whether they are here and fit, without waiting."""
        self._hear()
        while self._verified <= number:
            if self._missing(self._verified):
                return False
            self._verify_next(0)
        return True

    def close(self) -> None:
        """After the last verify: all sends have been received. Collective."""
        for send in self._sends:
            send.wait()
        self._private.Free()

    def _verify_next(self, timeout_s: float) -> None:
        number = self._verified
        complete = self._wait(lambda: not self._missing(number) or self._differ(number), timeout_s)
        if self._differ(number):
            self._wait(lambda: not self._missing(number), _REST_S)
            raise CollectiveMismatchError(self._describe(number))
        if not complete:
            text = self._describe_missing(number, timeout_s)
            self._alarm.ring(text)
            raise CollectiveMismatchError(text)
        self._verified += 1

    def _wait(self, is_over: Callable[[], bool], timeout_s: float) -> bool:
        """Hear entries until `is_over()`; False after `timeout_s` seconds (0: never)."""
        started, turns = time.monotonic(), 0
        while True:
            self._hear()
            if is_over():
                return True
            if timeout_s and time.monotonic() - started > timeout_s:
                return False
            turns += 1
            time.sleep(0 if turns < _SPINS else min(1e-3, 1e-5 * (turns - _SPINS)))

    def _hear(self) -> None:
        status = self._mpi.Status()
        while (message := self._private.improbe(self._mpi.ANY_SOURCE, ENTRY_TAG, status)) is not None:
            self._entries[status.Get_source()].append(message.recv())

    def _missing(self, number: int) -> list[int]:
        return [rank for rank, entries in enumerate(self._entries) if len(entries) <= number]

    def _present(self, number: int) -> dict[int, Entry]:
        return {rank: entries[number] for rank, entries in enumerate(self._entries) if len(entries) > number}

    def _differ(self, number: int) -> bool:
        present = self._present(number)
        if len({(entry.call, entry.root, entry.op) for entry in present.values()}) > 1:
            return True
        if not self._same_sites:
            return False
        # The root of a call may stand in a branch of its own; ranks of one role may not.
        return len({entry.site for rank, entry in present.items() if rank != entry.root and entry.call not in _ANYWHERE | {LEFT}}) > 1

    def _describe(self, number: int) -> str:
        present = self._present(number)
        lines = [f"  {_ranks([rank for rank in present if present[rank] == entry])}: {_said(entry)}" for entry in dict.fromkeys(present.values())]
        if self._missing(number):
            lines.append(f"  {_ranks(self._missing(number))}: {self._last_of(self._missing(number)[0], number)}")
        if len({(entry.call, entry.root, entry.op) for entry in present.values()}) > 1:
            advice = "Every rank has to make the same collective calls in the same order, with the same root and operator"
        else:
            advice = "The same call from different lines, as of ranks in different rounds of a loop: where it is meant, let all make it from one line"
        return f"the ranks of a communicator have entered different collective calls (number {number + 1}):\n" + "\n".join(lines) + f"\n{advice}"

    def _describe_missing(self, number: int, timeout_s: float) -> str:
        missing, present = self._missing(number), self._present(number)
        waiting = "; ".join(
            f"{_ranks([rank for rank in present if present[rank] == entry])}: {_said(entry)}" for entry in dict.fromkeys(present.values())
        )
        late = "\n".join(f"  rank {rank}: {self._last_of(rank, number)}" for rank in missing)
        return (
            f"{_ranks(missing)} did not come to collective call number {number + 1} within {timeout_s:g} s, where others wait ({waiting})\n{late}\n"
            "The stacks of all ranks are on stderr; collective_timeout_s sets the time"
        )

    def _last_of(self, rank: int, number: int) -> str:
        return (
            f"not there yet; its last collective call was {self._entries[rank][number - 1]}"
            if number
            else "not there yet; it has made no collective call"
        )


def _said(entry: Entry) -> str:
    return "has left the user's function" if entry.call == LEFT else str(entry)


def _ranks(ranks: list[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))
