"""GitArchivePackager: what git tracks, and a decision about what it does not."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from hpcflow.errors import ConfigError
from hpcflow.launch.checked import at_least, checked
from hpcflow.launch.packagers.base import AS_NAMES, DEFAULT_LIMIT_MB, Chosen, Packager, is_secret

Decision = Literal["refuse", "include", "warn"]


@checked
@dataclass(frozen=True)
class GitArchivePackager(Packager):
    """The tracked files of the repository that holds the folder, as they are in the working tree.

    uncommitted: what to do when tracked files differ from the commit: "refuse", pack them as they are ("include"), or pack them and note it ("warn")
    untracked: what to do with files that git neither tracks nor ignores: "refuse", "include", or leave out and note it ("warn")
    subpath: only what is below this folder of the repository
    limit_mb: more than that is refused
    """

    uncommitted: Decision = "warn"
    untracked: Decision = "warn"
    subpath: str = ""
    limit_mb: int = DEFAULT_LIMIT_MB

    def __post_init__(self) -> None:
        at_least(self, 1, "limit_mb")
        if self.subpath.startswith("/") or ".." in PurePosixPath(self.subpath).parts:
            raise ConfigError(f"GitArchivePackager.subpath={self.subpath!r}: give a folder within the repository, such as 'src'")

    def base(self, root: Path) -> Path:
        return Path(_git(root, "rev-parse", "--show-toplevel").strip())

    def choose(self, root: Path) -> tuple[list[Chosen], list[str]]:
        top = self.base(root)
        commit = _git(top, "rev-parse", "HEAD").strip()
        notes = [f"commit {commit}"]
        tracked, submodules = self._tracked(top)
        changed = [name for name in _names(top, "diff", "HEAD", "--name-only", "-z", "--", self.subpath or ".") if name]
        self._decide(self.uncommitted, changed, "differ from the commit", notes)
        untracked = _names(top, "ls-files", "--others", "--exclude-standard", "-z", "--", self.subpath or ".")
        if nested := [name for name in untracked if name.endswith("/")]:
            notes.append(f"repositories within this one are not packed: {', '.join(nested[:5])}")
            untracked = [name for name in untracked if not name.endswith("/")]
        others = [name for name in untracked if not is_secret(top / name)]
        if self.untracked == "include" and (secrets := sorted({*untracked} - {*others})):
            notes.append(f"left out as secrets: {', '.join(secrets[:5])}")
        self._decide(self.untracked, others, "are not tracked", notes)
        names = [*tracked, *(others if self.untracked == "include" else [])]
        ignored = _export_ignored(top, names)
        if ignored:
            notes.append(f"left out by export-ignore: {', '.join(sorted(ignored)[:5])}")
        if submodules:
            notes.append(f"submodules are not packed: {', '.join(submodules[:5])}")
        chosen: list[Chosen] = []
        for name in names:
            path = top / name
            if name in ignored or not path.exists():
                continue
            if path.is_symlink():
                if not path.resolve().is_relative_to(top.resolve()) or not path.is_file():
                    notes.append(f"left out: {name} is a link that leads outside or to a folder")
                    continue
                notes.append(f"{name} is a link and is packed as the file it names")
            elif not path.is_file():
                notes.append(f"left out: {name} is no file")
                continue
            chosen.append(Chosen(PurePosixPath(name), path, named=name in tracked))
        return chosen, notes

    def _tracked(self, top: Path) -> tuple[list[str], list[str]]:
        """(files, submodules): mode 160000 is a commit of another repository."""
        files: list[str] = []
        submodules: list[str] = []
        for line in _names(top, "ls-files", "--stage", "-z", "--", self.subpath or "."):
            if line:
                about, _, name = line.partition("\t")
                (submodules if about.startswith("160000") else files).append(name)
        return sorted(set(files)), submodules

    def _decide(self, decision: Decision, names: list[str], what: str, notes: list[str]) -> None:
        if not names:
            return
        told = f"{len(names)} files {what}: {', '.join(names[:5])}"
        if decision == "refuse":
            raise ConfigError(f"{told}; commit them, or say {'uncommitted' if 'differ' in what else 'untracked'}='include' or 'warn'")
        notes.append(told)


def _export_ignored(top: Path, names: list[str]) -> set[str]:
    """Files with the attribute export-ignore, which `git archive` leaves out as well."""
    if not names:
        return set()
    answer = subprocess.run(
        ["git", "-C", str(top), "check-attr", "-z", "--stdin", "export-ignore"], input="\0".join(names), capture_output=True, check=False, **AS_NAMES
    )
    parts = answer.stdout.split("\0")
    return {parts[i] for i in range(0, len(parts) - 2, 3) if parts[i + 2] == "set"}


def _names(top: Path, *words: str) -> list[str]:
    return [name for name in _git(top, *words).split("\0") if name]


def _git(root: Path, *words: str) -> str:
    try:
        answer: subprocess.CompletedProcess[str] = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False, **AS_NAMES)
    except FileNotFoundError as error:
        raise ConfigError("git is not installed: use PatternPackager") from error
    if answer.returncode != 0:
        raise ConfigError(f"git {words[0]} in {root}: {answer.stderr.strip()}; use PatternPackager outside of a repository with a commit")
    return answer.stdout
