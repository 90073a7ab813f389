"""PatternPackager: files by patterns, less what git ignores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcflow.errors import ConfigError
from hpcflow.launch.checked import at_least, checked, one_line
from hpcflow.launch.packagers.base import AS_NAMES, DEFAULT_LIMIT_MB, Chosen, Packager, matches

NEVER = (".git", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache")


@checked
@dataclass(frozen=True)
class PatternPackager(Packager):
    """Files that fit one of `include` and none of `exclude`; `*` stops at slashes, `**` does not.

    gitignore: leave out what git ignores, where the folder is a git repository
    limit_mb: more than that is refused
    """

    include: Sequence[str] = ("**/*.py",)
    exclude: Sequence[str] = ()
    gitignore: bool = True
    limit_mb: int = DEFAULT_LIMIT_MB

    def __post_init__(self) -> None:
        at_least(self, 1, "limit_mb")
        if not self.include:
            raise ConfigError("PatternPackager.include names nothing: give patterns, such as ['**/*.py']")
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                one_line(self, name, pattern)
                if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
                    raise ConfigError(f"PatternPackager.{name}: {pattern!r} leads out of the folder that is packed; patterns are relative to it")

    def choose(self, root: Path) -> tuple[list[Chosen], list[str]]:
        found: list[Chosen] = []
        notes: list[str] = []
        for path in _walk(root):
            relative = PurePosixPath(path.relative_to(root).as_posix())
            named = str(relative) in self.include
            if not (named or matches(relative, self.include)) or matches(relative, self.exclude):
                continue
            if path.is_symlink():
                target = path.resolve()
                if not target.is_relative_to(root.resolve()) or not target.is_file():
                    notes.append(f"left out: {relative} is a link to {os.readlink(path)}, outside of {root.name} or no file")
                    continue
                notes.append(f"{relative} is a link and is packed as the file it names")
            elif not path.is_file():
                notes.append(f"left out: {relative} is no file")
                continue
            found.append(Chosen(relative, path, named))
        ignored = _ignored(root, [str(c.path) for c in found if not c.named]) if self.gitignore else set()
        return [c for c in found if str(c.path) not in ignored], notes


def _walk(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in NEVER)
        for name in sorted(files):
            yield Path(folder) / name


def _ignored(root: Path, names: list[str]) -> set[str]:
    if not names:
        return set()
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "check-ignore", "-z", "--stdin"], input="\0".join(names), capture_output=True, check=False, **AS_NAMES
        )
    except FileNotFoundError:
        return set()
    if answer.returncode == 128 and "not a git repository" not in answer.stderr:
        raise ConfigError(f"git check-ignore: {answer.stderr.strip()}")
    return set(answer.stdout.split("\0"))
