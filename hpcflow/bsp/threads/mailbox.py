"""Messages between two ranks: matched in the order of sending, per (source, tag), with wildcards.

Invariant: a message is matched with the first receive, in posting order, that accepts it, and a receive with the first message, in arrival
order, that it accepts (MPI's non-overtaking rule). Sends are buffered: the data are copied before `send` returns, so only `Ssend` and its like
wait for the receiver.

    arrived:   messages that nobody has asked for       expected:  receives that nothing has matched       at most one of the two lists has a match
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcflow.bsp.threads.waiting import Completion, ThreadGroup

if TYPE_CHECKING:
    from hpcflow.bsp.threads.datatypes import Bytes

Fill = Callable[["Bytes"], None]
"""Puts the bytes of a matched message where the receiver wants them."""


@dataclass(slots=True)
class Message:
    """A message that has arrived before its receive. `taken` tells a synchronous sender that it was matched."""

    source: int
    tag: int
    data: Bytes
    taken: Completion | None = None


@dataclass(slots=True)
class _Receive:
    source: int | None
    tag: int | None
    fill: Fill
    completion: Completion

    def accepts(self, source: int, tag: int) -> bool:
        return (self.source is None or self.source == source) and (self.tag is None or self.tag == tag)


class Mailbox:
    """One rank's messages on one communicator. All methods take the group, whose lock guards the lists."""

    __slots__ = ("arrived", "expected", "probes")

    def __init__(self) -> None:
        self.arrived: list[Message] = []
        self.expected: list[_Receive] = []
        self.probes: list[_Receive] = []

    def deliver(self, group: ThreadGroup, source: int, tag: int, data: Bytes, snapshot: Callable[[], Bytes], taken: Completion | None) -> None:
        """Hand over one message: straight into a waiting receive's buffer, or as a copy made by `snapshot` into the list."""
        receive = self._match(group, source, tag)
        if receive is None:
            message = Message(source, tag, snapshot(), taken)
            with group.lock:
                receive = self._match_locked(source, tag)
                if receive is None:
                    self.arrived.append(message)
                    for probe in [probe for probe in self.probes if probe.accepts(source, tag)]:
                        self.probes.remove(probe)
                        group.complete_locked(probe.completion)
                    return
        _finish(group, receive.completion, receive.fill, source, tag, data, taken)

    def receive(self, group: ThreadGroup, source: int | None, tag: int | None, fill: Fill, completion: Completion) -> None:
        """Post a receive; `completion` is done when a message has been put in place by `fill`. None: any source, any tag."""
        receive = _Receive(source, tag, fill, completion)
        with group.lock:
            group.check()
            message = self._take_locked(receive)
            if message is None:
                self.expected.append(receive)
                return
        _finish(group, completion, fill, message.source, message.tag, message.data, message.taken)

    def probe(self, group: ThreadGroup, source: int | None, tag: int | None, take: bool) -> Message | Completion:
        """The first message that matches (removed when `take`), or the completion to wait for before trying again."""
        wanted = _Receive(source, tag, _no_fill, Completion())
        with group.lock:
            group.check()
            for index, message in enumerate(self.arrived):
                if wanted.accepts(message.source, message.tag):
                    return self.arrived.pop(index) if take else message
            self.probes.append(wanted)
            return wanted.completion

    def forget_probe(self, group: ThreadGroup, completion: Completion) -> None:
        with group.lock:
            self.probes = [probe for probe in self.probes if probe.completion is not completion]

    def cancel(self, group: ThreadGroup, completion: Completion) -> None:
        """Take back a receive that nothing has matched yet; otherwise nothing happens."""
        with group.lock:
            for receive in self.expected:
                if receive.completion is completion:
                    self.expected.remove(receive)
                    completion.cancelled = True
                    group.complete_locked(completion)
                    return

    def _match(self, group: ThreadGroup, source: int, tag: int) -> _Receive | None:
        with group.lock:
            group.check()
            return self._match_locked(source, tag)

    def _match_locked(self, source: int, tag: int) -> _Receive | None:
        for index, receive in enumerate(self.expected):
            if receive.accepts(source, tag):
                return self.expected.pop(index)
        return None

    def _take_locked(self, receive: _Receive) -> Message | None:
        for index, message in enumerate(self.arrived):
            if receive.accepts(message.source, message.tag):
                return self.arrived.pop(index)
        return None


def _finish(group: ThreadGroup, completion: Completion, fill: Fill, source: int, tag: int, data: Bytes, taken: Completion | None) -> None:
    error: BaseException | None = None
    completion.source, completion.tag, completion.size_bytes = source, tag, len(data)
    try:
        fill(data)
    except Exception as failure:
        error = failure
    with group.lock:
        group.complete_locked(completion, error)
        if taken is not None:
            group.complete_locked(taken)


def _no_fill(data: Bytes) -> None:
    return
