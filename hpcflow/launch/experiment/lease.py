"""Who drives an experiment: one process at a time, by a lease with a fencing number.

Invariant: whoever takes the lease gets a number above every earlier one, and drives only while the file still holds that number; a holder that has
not renewed for `STALE_S`, or whose process is known to have ended on this host, has lost it.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcflow.errors import LaunchError
from hpcflow.launch.executors.processes import boot_id, process_start, process_state
from hpcflow.launch.files import create_json, read_json, write_json

STALE_S = 60.0
RENEW_S = 15.0
_NAMES = ("fence", "host", "pid", "boot_id", "start", "renewed")
"""What each lease says."""


class LeaseLostError(LaunchError):
    """Another process drives this experiment now."""


class Lease:
    """Held by one driver. Use `Lease.take`."""

    def __init__(self, path: Path, fence: int) -> None:
        self._path = path
        self.fence = fence
        self._renewed = time.monotonic()

    @classmethod
    def take(cls, directory: Path) -> Lease:
        """Raises LaunchError when somebody else drives."""
        path = directory / "lease.json"
        held = _newest(directory)
        if held is not None and not _over(held):
            raise LaunchError(f"process {held['pid']} on {held['host']} drives this experiment; `hpcflow launch status` shows what it does")
        fence = int(held["fence"]) + 1 if held is not None else 1
        claim = directory / f"lease-{fence}.json"  # two who take over at once: one creates it
        if not create_json(claim, _own(fence)):
            raise LaunchError("somebody else has just begun to drive this experiment; try again in a minute")
        write_json(path, _own(fence))
        return cls(path, fence)

    def keep(self) -> None:
        """Renew now and then; to be called before each act. Raises LeaseLostError."""
        held = read_json(self._path, *_NAMES)
        if held is None or held["fence"] != self.fence:
            raise LeaseLostError("another process drives this experiment now: this one stops")
        if time.monotonic() - self._renewed > RENEW_S:
            write_json(self._path, _own(self.fence))
            self._renewed = time.monotonic()

    def give_back(self) -> None:
        """Let others take it at once."""
        held = read_json(self._path)
        if held is not None and held["fence"] == self.fence:
            write_json(self._path, {**held, "released": True})


@dataclass(frozen=True)
class Holder:
    """Who took the lease last.

    drives: that process drives now
    released: it gave the lease back in order
    """

    host: str
    pid: int
    drives: bool
    released: bool


def last_holder(directory: Path) -> Holder | None:
    """None: nobody has ever driven the experiment."""
    held = _newest(directory)
    return None if held is None else Holder(held["host"], int(held["pid"]), not _over(held), bool(held.get("released")))


def driven(directory: Path) -> bool:
    """Whether somebody drives the experiment now."""
    holder = last_holder(directory)
    return holder is not None and holder.drives


def _newest(directory: Path) -> dict[str, Any] | None:
    """What the last holder has written: one that died while it took the lease has left its claim alone."""
    held: dict[str, Any] | None = read_json(directory / "lease.json", *_NAMES)
    while (claim := read_json(directory / f"lease-{1 if held is None else int(held['fence']) + 1}.json", *_NAMES)) is not None:
        held = claim
    return held


def _own(fence: int) -> dict[str, Any]:
    pid = os.getpid()
    return {"fence": fence, "host": socket.gethostname(), "pid": pid, "boot_id": boot_id(), "start": process_start(pid), "renewed": time.time()}


def _over(held: dict[str, Any]) -> bool:
    if held.get("released"):
        return True
    if held["host"] == socket.gethostname():
        pid = int(held["pid"])  # a child of ours that was killed, and that nobody has waited for, is a zombie
        return bool(held["boot_id"] != boot_id() or process_start(pid) != held["start"] or process_state(pid) == "Z")
    return time.time() - float(held["renewed"]) > STALE_S
