"""Slurm's programs, played or wrapped: squeue, scontrol, sacct, sbatch, scancel that fail, are slow, are missing, or say what a test wants.

programs = SlurmPrograms(tmp_path / "bin"); monkeypatch.setenv("PATH", programs.path)       # played: each answers by what it is told
SlurmPrograms(tmp_path / "bin", real="/usr/bin:/bin")                                       # wrapped: the real ones, unless told otherwise
"""

from __future__ import annotations

import shutil
from pathlib import Path

NAMES = ("squeue", "scontrol", "sacct", "sbatch", "scancel")
NO_CONTACT = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
_SCRIPT = """#!/bin/sh
here='{here}'
/bin/echo "$(/bin/date +%s.%N) $*" >>"$here/{name}.calls"
[ ! -e "$here/{name}.slow" ] || /bin/sleep "$(/bin/cat "$here/{name}.slow")" >/dev/null 2>&1
if [ -e "$here/{name}.fails" ]; then
    left=$(/bin/cat "$here/{name}.fails")
    if [ "$left" -gt 0 ]; then
        echo $((left - 1)) >"$here/{name}.fails"
        /bin/cat "$here/{name}.says" >&2
        exit 1
    fi
fi
if [ -e "$here/{name}.late" ]; then
    /bin/rm "$here/{name}.late"
    {late} >/dev/null
    exec /bin/sleep 30 >/dev/null 2>&1
fi
if [ -e "$here/{name}.answer" ]; then exec /bin/cat "$here/{name}.answer"; fi
{real}
"""


class SlurmPrograms:
    """A folder of them. real: where the real ones are looked for; without it there are none, and an untold program answers nothing."""

    def __init__(self, directory: Path, real: str | None = None) -> None:
        self.directory = directory
        self.path = str(directory) + ("" if real is None else f":{real}")
        directory.mkdir(parents=True)
        for name in NAMES:
            found = None if real is None else shutil.which(name, path=real)
            act = "true" if found is None else f'{found} "$@"'
            (directory / name).write_text(_SCRIPT.format(here=directory, name=name, late=act, real="exit 0" if found is None else f"exec {act}"))
            (directory / name).chmod(0o755)

    def fail(self, name: str, times: int = 1_000_000, says: str = NO_CONTACT) -> None:
        """The next calls end with status 1 and this on stderr."""
        (self.directory / f"{name}.says").write_text(says + "\n")
        (self.directory / f"{name}.fails").write_text(str(times))

    def answer(self, name: str, text: str) -> None:
        """What it prints, with status 0."""
        (self.directory / f"{name}.answer").write_text(text)

    def slow(self, name: str, seconds: float) -> None:
        (self.directory / f"{name}.slow").write_text(str(seconds))

    def late(self, name: str) -> None:
        """The next call does its work, and then says nothing for half a minute."""
        (self.directory / f"{name}.late").touch()

    def missing(self, name: str) -> None:
        (self.directory / name).unlink()

    def mend(self) -> None:
        """All are as they were at first."""
        for kind in ("fails", "answer", "slow"):
            for path in self.directory.glob(f"*.{kind}"):
                path.unlink()

    def calls(self, name: str) -> list[float]:
        """When it was called, in seconds since the epoch."""
        path = self.directory / f"{name}.calls"
        return [float(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []
