"""Logs printed while tasks run: each line behind its task's name, without control sequences.

Invariant: reads the files of one experiment and drives nothing; a line is printed once, and when it is whole (the last one at `close`).

    train | epoch 3: loss 0.21
"""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hpcflow.errors import HpcflowError
from hpcflow.launch.experiment.views import printable

if TYPE_CHECKING:
    from hpcflow.launch.experiment.experiment import Experiment

LOOK_S = 0.2


class LogTail:
    """Prints until `close`."""

    def __init__(self, experiment: Experiment, out: IO[str] | None = None) -> None:
        self._experiment = experiment
        self._out = out or sys.stderr
        self._read: dict[Path, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hpcflow-log-tail", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Print the rest, and stop."""
        self._over.set()
        self._thread.join()
        self.look(whole=False)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            with contextlib.suppress(HpcflowError, OSError):  # what cannot be read now is read at the next look
                self.look()

    def look(self, whole: bool = True) -> None:
        """Print what has been added; `whole`: complete lines only."""
        for name, state in self._experiment.status().items():
            if state.value in ("waiting", "pending", "skipped"):
                continue
            for path in self._experiment.log_files(name):
                label = name if path.stem == "log" else f"{name} {path.stem}"
                with open(path, "rb") as file:
                    file.seek(self._read.get(path, 0))
                    added = file.read()
                if whole:
                    added = added[: added.rfind(b"\n") + 1]
                self._read[path] = self._read.get(path, 0) + len(added)
                for line in added.decode(errors="replace").splitlines():
                    print(printable(f"{label} | {line}"), file=self._out, flush=True)
