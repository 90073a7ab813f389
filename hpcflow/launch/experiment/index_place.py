"""Where the index of experiments lies: beside them, or on a local disk of this host where they lie on a network file system.

Invariant: SQLite's file is never on NFS, Lustre, GPFS and their like, whose locks cannot be relied on; where no local folder is to be had there is no
index, and everything is read from the files. What holds it elsewhere is private, and is the user's own.

    index_file(Path("/lustre/me/hpcflow"))       # /var/tmp/hpcflow-1000/index-5f3c9a10.sqlite
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

# f_type of statfs(2) on Linux: the magic numbers of linux/magic.h and of the file systems' own sources.
NETWORK_TYPES: Mapping[int, str] = {
    0x6969: "nfs", 0x0BD00BD0: "lustre", 0x0BD00BD3: "lustre", 0x47504653: "gpfs", 0xFF534D42: "cifs", 0xFE534D42: "smb2", 0x517B: "smb",
    0x65735546: "fuse", 0x19830326: "beegfs", 0xAAD7AAEA: "panfs", 0x00C36400: "ceph", 0x5346414F: "afs", 0x01021997: "9p", 0x7461636F: "ocfs2",
    0x01161970: "gfs2", 0x20030528: "orangefs", 0x013661AF: "wekafs",
}  # fmt: skip
NETWORK_NAMES = ("nfs", "lustre", "gpfs", "cifs", "smb", "fuse", "macfuse", "osxfuse", "beegfs", "panfs", "ceph", "afs", "webdav")


def index_file(base: Path, network: Callable[[Path], bool] | None = None, folders: Iterable[Path] | None = None) -> Path | None:
    """The index of the experiments below `base`; None where no local folder is to be had. Makes the folder on a local disk, when that is needed.

    network: tells whether a path lies on a network file system; folders: local ones to try, in order.
    """
    network = network or on_network
    if not network(base):
        return base / "index.sqlite"
    name = f"index-{hashlib.sha256(str(base).encode()).hexdigest()[:8]}.sqlite"
    for folder in local_folders() if folders is None else folders:
        if folder.is_dir() and not network(folder) and _private(folder / f"hpcflow-{os.getuid()}"):
            return folder / f"hpcflow-{os.getuid()}" / name
    return None


def local_folders() -> list[Path]:
    """Of this host: what the session has, then what survives a restart, then what does not."""
    named = (os.environ.get(name) for name in ("TMPDIR", "XDG_RUNTIME_DIR"))
    return [Path(folder) for folder in (*named, "/var/tmp", "/tmp") if folder]


def _private(folder: Path) -> bool:
    """Make it, 0700; False when it is there and another's, a link, or open to others: then somebody has put it there."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not stat.S_IMODE(about.st_mode) & 0o077


def on_network(path: Path) -> bool:
    """Whether a path (or what is above it, as far as it is there) lies on a network file system. Not known counts as local."""
    while not path.exists() and path != path.parent:
        path = path.parent
    if sys.platform == "darwin":
        answer = subprocess.run(["mount"], capture_output=True, text=True, check=False)
        return answer.returncode == 0 and kind_of_mount(answer.stdout, str(path.resolve())).lower().startswith(NETWORK_NAMES)
    return statfs_type(path) in NETWORK_TYPES


def statfs_type(path: Path) -> int | None:
    """`f_type` of statfs(2), the first word of its structure on Linux; None where it does not say."""
    try:
        call = ctypes.CDLL(None, use_errno=True).statfs
    except (AttributeError, OSError):
        return None
    words = (ctypes.c_long * 64)()  # larger than the structure is anywhere
    if call(os.fsencode(path), words) != 0:
        return None
    return int(words[0]) & 0xFFFFFFFF


def kind_of_mount(text: str, path: str) -> str:
    """The file system that holds `path`, out of what `mount` says on macOS: that of the longest mount point above it.

    >>> said = "/dev/disk3s1 on / (apfs, sealed, local)\\nnas:/v on /Volumes/my data (nfs, nodev)\\n"
    >>> kind_of_mount(said, "/Volumes/my data/home"), kind_of_mount(said, "/Users/me")
    ('nfs', 'apfs')
    """
    found = re.findall(r"^.* on (/.*) \(([^,)]+)", text, re.MULTILINE)
    above = [(len(point), kind) for point, kind in found if path == point or path.startswith(point.rstrip("/") + "/")]
    return str(max(above)[1]) if above else ""
