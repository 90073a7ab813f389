"""A private directory for a rank's own files, gone when the rank is, however it ends.

    base/hpcflow-scratch-XXXX/        mode 0700, locked (flock) by its owner as long as that lives

Invariant: three ways remove it, each for when the one before cannot: `remove` at an ordinary end; a small shell that waits for the owner's end and
removes it then (a killed rank runs nothing); and the next job's start, which removes what nobody holds the lock of (Slurm and containers kill the
shell too).

    directory = ScratchDirectory(("/local",))
    directory.path()                             # made here, on first use
    directory.remove()
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from hpcflow.errors import SpillError
from hpcflow.runtime.file_systems import default_scratch, preference

PREFIX = "hpcflow-scratch-"
_YOUNG_S = 60.0
"""A directory this young may not have its lock yet."""
_REMOVE_WHEN_ORPHANED = 'read -r _; rm -rf -- "$1"'


class ScratchDirectory:
    """One directory, made when `path` is first called. Thread-safe.

    Args:
        bases: directories to make it in, the first usable one on the nearest kind of file system; None: `default_scratch`.
    """

    def __init__(self, bases: Sequence[str] | None = None) -> None:
        self._bases = bases
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._held: int | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._removed = False

    def path(self) -> Path:
        """The directory.

        Raises:
            SpillError: it cannot be made, or has been removed already.
        """
        with self._lock:
            if self._removed:
                raise SpillError("the scratch directory has been removed: the program has ended")
            if self._path is None:
                self._path = self._make()
                self._held = _hold(str(self._path), fcntl.LOCK_SH)
                self._keeper = _keeper(self._path)
            return self._path

    def remove(self) -> None:
        """Remove it with all that is in it. Twice is fine."""
        with self._lock:
            self._removed = True
            path, self._path = self._path, None
            if path is None:
                return
            shutil.rmtree(path, ignore_errors=True)
            if self._held is not None:
                os.close(self._held)
            keeper = self._keeper
        if keeper is not None:
            with contextlib.suppress(OSError):
                if keeper.stdin is not None:
                    keeper.stdin.close()
            keeper.wait()

    def _make(self) -> Path:
        bases = default_scratch(os.environ) if self._bases is None else self._bases
        problems = []
        for base in sorted(map(os.path.abspath, bases), key=preference):
            try:
                os.makedirs(base, mode=0o700, exist_ok=True)
                remove_orphans(base)
                return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            except OSError as error:
                problems.append(f"{base}: {error.strerror}")
        raise SpillError(f"no scratch directory can be made: {'; '.join(problems)}; set HPCFLOW_SCRATCH (or scratch=) to directories you can write")


def remove_orphans(base: str) -> None:
    """Remove the directories in `base` that are this user's and that nobody holds."""
    for entry in os.scandir(base):
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            ours = entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False) and status.st_uid == os.getuid()
            if ours and time.time() - status.st_ctime > _YOUNG_S:
                held = _hold(entry.path, fcntl.LOCK_EX)
                if held is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(held)


def _hold(path: str, kind: int) -> int | None:
    """A descriptor that holds the directory's lock; None when others hold it or the file system has no locks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return descriptor
    except OSError:
        os.close(descriptor)
        return None


def _keeper(path: Path) -> subprocess.Popen[bytes]:
    """A shell in a session of its own, so that signals to the job's processes leave it alone: its standard input ends when this process does."""
    words = ["/bin/sh", "-c", _REMOVE_WHEN_ORPHANED, "hpcflow-scratch", str(path)]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/", env={"PATH": os.defpath}
    )
