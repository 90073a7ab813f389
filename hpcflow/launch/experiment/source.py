"""The state of the sources an experiment was started from: commit, branch, and what differs from the commit as a patch.

Invariant: asks git and changes nothing; files that look like secrets (`.env`, `*.pem`, `id_rsa`, ...) are in no patch, and untracked files are named,
not read.

    facts, patch = git_state(Path.cwd())      # {"commit": "9f3c...", "branch": "main", "changed": True, ...}, b"diff --git ..."
"""

from __future__ import annotations

import subprocess
from itertools import islice
from pathlib import Path
from typing import Any

from hpcflow.launch.packagers.base import SECRET_NAMES, is_secret

TIMEOUT_S = 10.0
LARGEST_PATCH = 20_000_000
"""Bytes; a larger patch is left out, and the facts say so."""
_UNTRACKED = 50


def git_state(root: Path) -> tuple[dict[str, Any], bytes] | None:
    """(facts, patch) of the repository that holds `root`; None without one, or without git."""
    head = _git(root, "rev-parse", "--show-toplevel", "HEAD", "--abbrev-ref", "HEAD")
    if head is None:
        return None
    top, commit, branch = head.decode(errors="replace").splitlines()
    facts: dict[str, Any] = {"commit": commit, "branch": branch, "top": top, "changed": False}
    left_out = [f":(exclude,glob)**/{name}" for name in SECRET_NAMES]
    patch = _git(root, "-C", top, "diff", "--binary", "--no-ext-diff", "--no-color", "HEAD", "--", ".", *left_out)
    if patch is None:
        return facts | {"changed": None, "note": f"git diff gave no answer within {TIMEOUT_S:.0f} s"}, b""
    facts["changed"] = bool(patch)
    if len(patch) > LARGEST_PATCH:
        facts["note"] = f"the patch has {len(patch):,} bytes and is left out"
        patch = b""
    elif patch:
        facts["patch"] = "dirty.patch"
    others = (_git(root, "-C", top, "ls-files", "--others", "--exclude-standard", "-z") or b"").decode(errors="replace").split("\0")
    names = list(islice((name for name in others if name and not is_secret(Path(top) / name)), _UNTRACKED))
    if names:
        facts["untracked"] = names
    return facts, patch


def _git(root: Path, *words: str) -> bytes | None:
    try:
        ended = subprocess.run(["git", *words], cwd=root, capture_output=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None
