"""A packager chooses files; packing copies them into a folder named by their content.

Invariant: the same content gives the same folder, whoever packed it and when; a folder is there whole or not at all, with a manifest that the job
checks; secrets (`.env`, `*.pem`, private keys, ...) are packed only when they are asked for by name, and what was left out is said.

    package = pack(PatternPackager(include=("mylib/**/*.py",)))
    package.path          # ~/.local/share/hpcflow/code/3fb0.../files
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.files import make_directory, write_json
from hpcflow.launch.home import home, home_path

SECRET_NAMES = (
    ".env", ".env.*", "*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", ".pypirc",
    ".git-credentials", "*.kdbx", "credentials", "credentials.[!p]*",
)  # fmt: skip
"""Of files that hold secrets; a private key is known by its first line too, whatever its name."""
AS_NAMES: Mapping[str, Any] = {"encoding": sys.getfilesystemencoding(), "errors": "surrogateescape"}
"""How what git says becomes text: as names of files do."""
DEFAULT_LIMIT_MB = 200
"""Of code that goes along with a job, unless a packager says `limit_mb`."""


@dataclass(frozen=True)
class Chosen:
    """A file that a packager chose: its place in the package, where it is, and whether it was named in full."""

    path: PurePosixPath
    source: Path
    named: bool = False


@dataclass(frozen=True)
class Package:
    """Packed code. notes: what somebody should know (uncommitted changes, links, submodules)."""

    digest: str
    path: Path
    files: int
    size_bytes: int
    notes: tuple[str, ...] = ()


class Packager(ABC):
    """Chooses the files. A dataclass of its own with a field `limit_mb` sets how much it may choose."""

    @abstractmethod
    def choose(self, root: Path) -> tuple[list[Chosen], list[str]]:
        """The files below `root`, and notes. Raises ConfigError for a state that is not to be packed."""

    def base(self, root: Path) -> Path:
        """The folder whose files have the paths in the package that they have in it: `root`, unless a packager takes another."""
        return root


def pack(packager: Packager, root: Path | None = None) -> Package:
    """Copy the chosen files into `code/<digest>` of the launch home, unless they are there. Raises ConfigError above the limit, or for no files."""
    root = (root or Path.cwd()).absolute()
    chosen, notes = packager.choose(root)
    secrets = {c.path for c in chosen if not c.named and is_secret(c.source, c.path.name)}
    files = {str(c.path): c for c in chosen if c.path not in secrets}
    left_out = sorted(map(str, secrets))
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        notes.append(f"left out as secrets: {', '.join(left_out[:5])}{more}; name them in full to pack them")
    if not files:
        raise ConfigError(f"{type(packager).__name__} finds no file in {root}: check its patterns")
    size = sum(c.source.stat().st_size for c in files.values())
    limit_mb = int(getattr(packager, "limit_mb", DEFAULT_LIMIT_MB))
    if size > limit_mb << 20:
        largest = sorted(files.values(), key=lambda c: -c.source.stat().st_size)[:3]
        named = ", ".join(f"{c.path} ({c.source.stat().st_size >> 20} MB)" for c in largest)
        raise ConfigError(
            f"{size >> 20} MB of code are more than {limit_mb} MB: exclude what is not code (largest: {named}), "
            f"or say {type(packager).__name__}(limit_mb=...)"
        )
    digests = {name: _digest(c.source) for name, c in sorted(files.items())}
    modes = {name: "x" if os.access(c.source, os.X_OK) else "-" for name, c in files.items()}
    digest = hashlib.sha256("".join(f"{modes[name]} {value}  {name}\n" for name, value in digests.items()).encode()).hexdigest()[:32]
    target = _place(home(), digest)
    if not (target / "manifest").exists():
        _copy(files, digests, target)
    return Package(digest, target / "files", len(files), size, tuple(notes))


def place_in(base: Path, file: str) -> str | None:
    """Where a file is in a package of the folder `base`; None: it lies elsewhere and stays where it is."""
    folder, name = os.path.split(os.path.abspath(file))
    inside = os.path.relpath(os.path.join(os.path.realpath(folder), name), os.path.realpath(base))
    return None if inside.startswith("..") else inside


def packed_files(digest: str | None) -> Path | None:
    """Where the files of packed code are; None: no code goes along. Makes nothing."""
    return None if digest is None else _place(home_path(), digest) / "files"


def _place(base: Path, digest: str) -> Path:
    return base / "code" / digest


def _copy(files: dict[str, Chosen], digests: dict[str, str], target: Path) -> None:
    draft = make_directory(target.parent) / f".{target.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    for name, chosen in files.items():
        place = draft / "files" / name
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(chosen.source, place)
        place.chmod(0o700 if os.access(chosen.source, os.X_OK) else 0o600)
        if _digest(place) != digests[name]:
            raise LaunchError(f"{chosen.source} changed while it was packed: try again")
    lines = (f"{value}  {name}\n" for name, value in digests.items() if "\n" not in name and "\\" not in name)
    (draft / "manifest").write_bytes(os.fsencode("".join(lines)))
    write_json(draft / "about.json", {"files": len(files)})
    draft.chmod(0o700)
    try:
        draft.rename(target)
    except OSError:  # another process packed the same
        shutil.rmtree(draft, ignore_errors=True)
        if not (target / "manifest").exists():
            raise


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be packed: {error.strerror}; exclude it, or make it readable") from error


def is_secret(path: Path, name: str | None = None) -> bool:
    """Whether a file has a name that secrets have (`name`: one it goes by instead of its own), or begins as a private key does."""
    if any(fnmatch.fnmatch((name or path.name).lower(), pattern) for pattern in SECRET_NAMES):
        return True
    try:
        with open(path, "rb") as file:
            first = file.read(80).partition(b"\n")[0]
    except OSError:  # whoever needs it will say so
        return False
    return first.startswith(b"-----BEGIN") and b"PRIVATE KEY" in first


def matches(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns fits: `*` stops at slashes, `**` does not; a pattern without a slash fits names anywhere.

    >>> path = PurePosixPath("a/b/c.py")
    >>> matches(path, ["a/**/*.py"]), matches(path, ["*.py"]), matches(path, ["a/*.py"])
    (True, True, False)
    """
    return any(
        _fits(path.parts, tuple(PurePosixPath(pattern).parts)) if "/" in pattern else fnmatch.fnmatch(path.name, pattern) for pattern in patterns
    )


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
