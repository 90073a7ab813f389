"""Waiting for what other processes do.

until(lambda: (directory / "began").exists())
"""

from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], object], limit_s: float = 60.0, look_s: float = 0.05) -> None:
    """Return when `holds()` is true; fails after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s"
        time.sleep(look_s)
