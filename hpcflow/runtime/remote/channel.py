"""One connection between the driver and rank 0 of the ranks it has started: messages, and rows as frames.

    driver   listens: a Unix socket in a folder of its own (0700), or TCP where ranks may be on other hosts
    rank 0   connects; both prove that they know the key (HMAC challenge, each way) before either reads a pickle

Invariant: the key is made for one start, goes to the launcher's standard input (which reaches rank 0) and stands in no argument, variable or file.
Messages of one direction arrive in order; `send` may be called by any thread and blocks while the other side does not read, so that the threads that
read never send.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any

import cloudpickle
import polars as pl

from hpcflow.native import ArenaPool, pack_frame, unpack_frame

CHUNK_BYTES = 4 << 20
"""Rows of one message: several actions share the connection, and none keeps it for long."""
CONNECT_TIMEOUT_S = 20.0
LONGEST_UNIX_PATH = 100


class Channel:
    """A connection both ends of which have proved that they know the key."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: Any, frame: Any = None) -> None:
        """A message, and with it a frame of rows. OSError when the other side has gone."""
        payload = cloudpickle.dumps(message, protocol=5)
        with self._lock:
            self._connection.send_bytes(b"m" if frame is None else b"f")
            self._connection.send_bytes(payload)
            if frame is not None:
                self._connection.send_bytes(frame)

    def receive(self) -> tuple[Any, Any]:
        """The next message and its frame (or None). EOFError or OSError when the other side has gone."""
        kind = self._connection.recv_bytes()
        message = cloudpickle.loads(self._connection.recv_bytes())
        return message, self._connection.recv_bytes() if kind == b"f" else None

    def close(self) -> None:
        """The other side reads the end of the stream."""
        with contextlib.suppress(OSError):
            self._connection.close()


# -- rows -------------------------------------------------------------------------------------------------------------------------------------------


def frames_of(df: pl.DataFrame, pool: ArenaPool) -> Iterator[Any]:
    """The rows as frames of about CHUNK_BYTES; none for no rows."""
    size = max(1, int(df.estimated_size()))
    step = max(1, min(df.height, df.height * CHUNK_BYTES // size))
    for start in range(0, df.height, step):
        yield memoryview(pack_frame(df.slice(start, step), pool=pool))


def table_of(frames: list[Any], schema: pl.Schema) -> pl.DataFrame:
    """The rows of frames that came in order."""
    return pl.concat([unpack_frame(frame, schema) for frame in frames], rechunk=True) if frames else schema.to_frame()


# -- the driver's end -------------------------------------------------------------------------------------------------------------------------------


class Doorkeeper:
    """Listens for rank 0, and lets in who knows the key."""

    def __init__(self, same_host: bool) -> None:
        self._key = secrets.token_bytes(32)
        self._folder: str | None = None
        self._socket = socket.socket(socket.AF_UNIX if same_host else socket.AF_INET, socket.SOCK_STREAM)
        if same_host:
            base = tempfile.gettempdir()
            self._folder = tempfile.mkdtemp(prefix="hpcflow-", dir=base if len(base) < LONGEST_UNIX_PATH - 40 else "/tmp")
            path = os.path.join(self._folder, "driver")
            self._socket.bind(path)
            self._addresses: list[Any] = [path]
        else:
            self._socket.bind(("", 0))
            port = self._socket.getsockname()[1]
            self._addresses = [[host, port] for host in dict.fromkeys((socket.gethostname(), socket.getfqdn(), "127.0.0.1"))]
        self._socket.listen(16)
        self._socket.settimeout(0.2)
        self._entered: list[Connection[Any, Any]] = []
        self._closed = threading.Event()
        threading.Thread(target=self._accept, name="hpcflow-doorkeeper", daemon=True).start()

    def invitation(self) -> bytes:
        """One line that tells rank 0 where to come and what to know: for a pipe and nothing else."""
        return (json.dumps({"addresses": self._addresses, "key": self._key.hex()}) + "\n").encode()

    def wait(self, timeout_s: float, given_up: Callable[[], bool]) -> Channel | None:
        """The channel; None after `timeout_s` or when `given_up()`."""
        deadline = time.monotonic() + timeout_s
        while not self._entered and time.monotonic() < deadline and not given_up():
            time.sleep(0.01)
        return Channel(self._entered[0]) if self._entered else None

    def close(self) -> None:
        """Nobody else comes in."""
        self._closed.set()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        with self._socket:
            while not self._closed.is_set():
                try:
                    client, _ = self._socket.accept()
                except TimeoutError:
                    continue
                client.setblocking(True)
                threading.Thread(target=self._check, args=(Connection(client.detach()),), name="hpcflow-challenge", daemon=True).start()

    def _check(self, connection: Connection[Any, Any]) -> None:
        try:
            prove(connection, self._key, first=True)
        except Exception:  # somebody else, or a rank that ended: whoever waits goes on waiting
            connection.close()
            return
        self._entered.append(connection)


def prove(connection: Connection[Any, Any], key: bytes, first: bool) -> None:
    """Each side has the other prove that it knows the key; nothing is unpickled. Raises AuthenticationError, EOFError or OSError."""
    for turn in (first, not first):
        (deliver_challenge if turn else answer_challenge)(connection, key)


# -- rank 0's end -----------------------------------------------------------------------------------------------------------------------------------


def connect(invitation: str) -> Channel:
    """Go where the invitation says. OSError when there is nobody."""
    told = json.loads(invitation)
    last: OSError = OSError("the invitation names no address")
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    for address in told["addresses"]:
        client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, socket.SOCK_STREAM)
        client.settimeout(max(1.0, deadline - time.monotonic()))
        try:
            client.connect(address if isinstance(address, str) else tuple(address))
        except OSError as error:
            client.close()
            last = error
            continue
        client.setblocking(True)
        connection: Connection[Any, Any] = Connection(client.detach())
        prove(connection, bytes.fromhex(told["key"]), first=False)
        return Channel(connection)
    raise last
