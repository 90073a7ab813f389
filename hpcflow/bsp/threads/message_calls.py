"""Messages between two ranks: send and receive, of buffers and of objects, and looking for messages without taking them.

Invariant: sends are buffered (`Send` copies and returns, whatever the size), so a program that relies on that runs here and may hang under MPI,
where large messages wait for their receiver: pair sends with receives, or use Sendrecv. Synchronous sends (`Ssend`, `ssend`) do wait.

    comm.send({"a": 1}, dest=1, tag=7);   comm.recv(source=0, tag=7)
    comm.Sendrecv(row, dest=right, recvbuf=ghost, source=left)
"""

from __future__ import annotations

from typing import Any

from hpcflow.bsp.threads.base import RankBase
from hpcflow.bsp.threads.buffers import span
from hpcflow.bsp.threads.datatypes import Bytes
from hpcflow.bsp.threads.foreign import ANY_SOURCE, ANY_TAG, PROC_NULL, is_in_place, is_proc_null, rank_of, source_of, tag_of, wanted_tag
from hpcflow.bsp.threads.mailbox import Fill, Message
from hpcflow.bsp.threads.pickling import packed, unpacked
from hpcflow.bsp.threads.requests import Prequest, Request
from hpcflow.bsp.threads.status import fill_status
from hpcflow.bsp.threads.waiting import Completion, ThreadGroup


class MatchedMessage:
    """The twin of `mpi4py.MPI.Message`: a message that was taken out of the queue by a matched probe and is still to be received."""

    def __init__(self, message: Message | None, group: ThreadGroup) -> None:
        self._message = message  # None: from PROC_NULL
        self._group = group

    def recv(self, status: Any = None) -> Any:
        data = self._take(status)
        return None if data is None else unpacked(data)

    def Recv(self, buf: Any, status: Any = None) -> None:
        data = self._take(status)
        if data is not None:
            span(buf, True).fill(data)

    def Irecv(self, buf: Any) -> Request:
        """The message is here: the request is complete."""
        completion = _done()
        if self._message is not None:
            completion.source, completion.tag = self._message.source, self._message.tag
        self.Recv(buf)
        return Request(self._group, completion)

    def _take(self, status: Any) -> Bytes | None:
        message, self._message = self._message, None
        if message is None:
            fill_status(status, PROC_NULL, ANY_TAG, 0)
            return None
        fill_status(status, message.source, message.tag, len(message.data))
        return message.data


class MessageCalls(RankBase):
    """Point-to-point calls."""

    def Send(self, buf: Any, dest: int, tag: int = 0) -> None:
        self._post_buffer(buf, dest, tag, False)

    def Isend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        return self._sent(self._post_buffer(buf, dest, tag, False))

    def Ssend(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Return when the receiver has matched the message."""
        self._wait(self._post_buffer(buf, dest, tag, True))

    def Issend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        return self._sent(self._post_buffer(buf, dest, tag, True))

    Bsend, Rsend, Ibsend, Irsend = Send, Send, Isend, Isend  # all sends are buffered

    def Recv(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Any = None) -> None:
        """Receive at most as many items as `buf` holds; a longer message is an ERR_TRUNCATE."""
        self.Irecv(buf, source, tag).wait(status)

    def Irecv(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Request:
        self._check()
        if is_proc_null(source, self.size):
            return self._from_nobody()
        return self._post_receive(source, tag, span(buf, True).fill, Completion())

    def Sendrecv(
        self,
        sendbuf: Any,
        dest: int,
        sendtag: int = 0,
        recvbuf: Any = None,
        source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG,
        status: Any = None,
    ) -> None:
        self._post_buffer(sendbuf, dest, sendtag, False)
        self.Recv(recvbuf, source, recvtag, status)

    def Sendrecv_replace(self, buf: Any, dest: int, sendtag: int = 0, source: int = ANY_SOURCE, recvtag: int = ANY_TAG, status: Any = None) -> None:
        self.Sendrecv(buf, dest, sendtag, buf, source, recvtag, status)

    def Send_init(self, buf: Any, dest: int, tag: int = 0) -> Prequest:
        """A send to be started by its `Start`, each time with what `buf` then holds."""
        return Prequest(lambda: self.Isend(buf, dest, tag))

    def Recv_init(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Prequest:
        return Prequest(lambda: self.Irecv(buf, source, tag))

    def send(self, obj: Any, dest: int, tag: int = 0) -> None:
        self._post_object(obj, dest, tag, False)

    def isend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        return self._sent(self._post_object(obj, dest, tag, False))

    def ssend(self, obj: Any, dest: int, tag: int = 0) -> None:
        self._wait(self._post_object(obj, dest, tag, True))

    def issend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        return self._sent(self._post_object(obj, dest, tag, True))

    bsend, ibsend = send, isend

    def recv(self, buf: Any = None, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Any = None) -> Any:
        """The object of the next message that matches. `buf` is there for mpi4py's signature and not used."""
        return self.irecv(buf, source, tag).wait(status)

    def irecv(self, buf: Any = None, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Request:
        self._check()
        if is_proc_null(source, self.size):
            return self._from_nobody()
        kept: list[Bytes] = []

        def keep(data: Bytes) -> None:
            kept.append(data if isinstance(data.base, bytes) else data.copy())  # a pickle never changes; a buffer belongs to its sender

        return self._post_receive(source, tag, keep, Completion(lambda: unpacked(kept[0])))

    def sendrecv(
        self,
        sendobj: Any,
        dest: int,
        sendtag: int = 0,
        recvbuf: Any = None,
        source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG,
        status: Any = None,
    ) -> Any:
        self._post_object(sendobj, dest, sendtag, False)
        return self.recv(recvbuf, source, recvtag, status)

    def Probe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Any = None) -> bool:
        """Wait until a message that matches is there; it stays there."""
        self._look(source, tag, status, take=False, wait=True)
        return True

    def Iprobe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Any = None) -> bool:
        return self._look(source, tag, status, take=False, wait=False) is not None

    def Mprobe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Any = None) -> MatchedMessage | None:
        """Wait for a message and take it out of the queue: only the result can receive it."""
        return self._look(source, tag, status, take=True, wait=True)

    def Improbe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Any = None) -> MatchedMessage | None:
        return self._look(source, tag, status, take=True, wait=False)

    probe, iprobe, mprobe, improbe = Probe, Iprobe, Mprobe, Improbe

    def _post_buffer(self, buf: Any, dest: int, tag: int, synchronous: bool) -> Completion:
        target = self._destination(dest, tag)
        if target is None:
            return _done()
        if is_in_place(buf):
            raise TypeError("message: expecting buffer or list/tuple")
        message = span(buf, False)
        return self._post(target, tag, message.pack(), True, synchronous)

    def _post_object(self, obj: Any, dest: int, tag: int, synchronous: bool) -> Completion:
        target = self._destination(dest, tag)
        return _done() if target is None else self._post(target, tag, packed(obj), False, synchronous)

    def _destination(self, dest: int, tag: int) -> int | None:
        self._check()
        target = rank_of(dest, self.size)
        tag_of(tag)
        return target

    def _post(self, target: int, tag: int, data: Bytes, live: bool, synchronous: bool) -> Completion:
        completion = Completion()
        box = self._context.mailboxes[target]
        box.deliver(self.group, self.rank, tag_of(tag), data, data.copy if live else lambda: data, completion if synchronous else None)
        if not synchronous:
            completion.done = True
        return completion

    def _sent(self, completion: Completion) -> Request:
        return Request(self.group, completion)

    def _post_receive(self, source: int, tag: int, fill: Fill, completion: Completion) -> Request:
        box = self._context.mailboxes[self.rank]
        box.receive(self.group, source_of(source, self.size), wanted_tag(tag), fill, completion)
        return Request(self.group, completion, lambda posted: box.cancel(self.group, posted))

    def _from_nobody(self) -> Request:
        completion = _done()
        completion.source, completion.tag = PROC_NULL, ANY_TAG
        return Request(self.group, completion)

    def _look(self, source: int, tag: int, status: Any, take: bool, wait: bool) -> MatchedMessage | None:
        self._check()
        if is_proc_null(source, self.size):
            fill_status(status, PROC_NULL, ANY_TAG, 0)
            return MatchedMessage(None, self.group)
        box, wanted_source, wanted = self._context.mailboxes[self.rank], source_of(source, self.size), wanted_tag(tag)
        while True:
            found = box.probe(self.group, wanted_source, wanted, take)
            if isinstance(found, Message):
                fill_status(status, found.source, found.tag, len(found.data))
                if take and found.taken is not None:
                    self.group.complete(found.taken)
                return MatchedMessage(found, self.group)
            if not wait:
                box.forget_probe(self.group, found)
                return None
            try:
                self.group.wait((found,))
            finally:
                box.forget_probe(self.group, found)


def _done() -> Completion:
    completion = Completion()
    completion.done = True
    return completion
