"""Which cached datasets are being filled: of several actions that use one that is not there yet, one fills it and the others wait.

Invariant: a key is held by one action at a time, and who waits holds none, so that nobody waits in a circle.

    keys = fillings.begin(lambda: missing, lambda: False)
    try: ...
    finally: fillings.end(keys)
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from hpcflow.errors import ActionCancelledError


class Fillings:
    """Which cached datasets are being filled: of several actions that use one that is not there yet, one fills it and the others wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._keys: set[str] = set()

    def begin(self, missing: Callable[[], set[str]], stopped: Callable[[], bool]) -> set[str]:
        """Wait until nobody fills what `missing()` names, and enter it; ActionCancelledError when `stopped()` meanwhile."""
        with self._changed:
            while (keys := missing()) & self._keys:
                if stopped():
                    raise ActionCancelledError("cancelled while it waited for a dataset that another action caches")
                self._changed.wait(0.1)
            self._keys |= keys
            return keys

    def end(self, keys: set[str]) -> None:
        """They are filled, or the action failed."""
        with self._changed:
            self._keys -= keys
            self._changed.notify_all()
