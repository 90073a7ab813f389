"""What kind of file system a directory is on, its free space, and holes in files.

Invariant: questions about a directory that cannot be asked (no /proc, no such call) have a cautious answer and never raise.

    preference("/local/scratch")        # 0: a disk of this node; 1: network; 2: memory
    default_scratch({"TMPDIR": "/local"})
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from functools import lru_cache

_NETWORK = """
    9p afs beegfs beegfs_nodev ceph cifs fuse.ceph fuse.ceph-fuse fuse.glusterfs fuse.s3fs fuse.sshfs glusterfs gpfs lustre nfs nfs4 orangefs panfs
    pvfs2 smb3 smbfs virtiofs wekafs
"""
NETWORK_TYPES = frozenset(_NETWORK.split())
MEMORY_TYPES = frozenset({"tmpfs", "ramfs", "hugetlbfs"})
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02


def default_scratch(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Scratch directories when the user names none: the batch system's or the user's temporary one, else /tmp or /var/tmp, one on a disk first."""
    named = [environ[name] for name in ("SLURM_TMPDIR", "LOCAL_SCRATCH", "TMPDIR") if environ.get(name)]
    usual = sorted((path for path in ("/tmp", "/var/tmp") if writable(path)), key=preference)
    found = [path for path in named if writable(path)][:1] or usual[:1]
    return tuple(found) or (os.getcwd(),)


def writable(directory: str) -> bool:
    """Whether files can be made in it."""
    return os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK)


def preference(directory: str) -> int:
    """0 for a disk of this node, 1 for a network file system, 2 for one that takes memory."""
    kind = file_system_type(os.path.realpath(directory))
    return 2 if kind in MEMORY_TYPES else 1 if kind in NETWORK_TYPES else 0


@lru_cache(maxsize=64)
def file_system_type(path: str) -> str:
    """The type of the mount that holds `path`, `""` when unknown."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                _, point, this, *_ = line.split(" ")
                point = point.encode("utf-8", "surrogateescape").decode("unicode_escape").rstrip("/")  # blanks are written \040
                if (path == point or path.startswith(point + "/")) and len(point) >= len(best):
                    best, kind = point, this
    except (OSError, ValueError):
        return ""
    return kind


def free_bytes(directory: str) -> int:
    """Bytes a user may still write there; 0 when it cannot be asked."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def punch_hole(descriptor: int, offset: int, size_bytes: int) -> bool:
    """Give back the space of a part of a file; False where the file system cannot (its space then returns with the whole file)."""
    call = _fallocate()
    return call is not None and call(descriptor, _KEEP_SIZE_PUNCH_HOLE, offset, size_bytes) == 0


@lru_cache(maxsize=1)
def _fallocate() -> ctypes._NamedFuncPointer | None:
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call
