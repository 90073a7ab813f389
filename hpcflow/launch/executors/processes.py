"""Processes of this host as the launch layer knows them: boot, start time, state. Linux by /proc, macOS by sysctl and ps.

Invariant: (boot id, pid, start time) names one process for ever; an empty start time means that there is no such process.

    process_start(os.getpid()) == process_start(os.getpid()) != ""
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

PROC = Path("/proc")


@cache
def boot_id() -> str:
    """Of the running system: another one after every start; "unknown" where nobody tells."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _ask("sysctl", "-n", "kern.bootsessionuuid").strip() or parse_boottime(_ask("sysctl", "-n", "kern.boottime")) or "unknown"


def process_start(pid: int) -> str:
    """When a process started, in the system's own words (Linux: clock ticks from boot); empty when there is none."""
    return _start_and_state(pid)[0]


def process_state(pid: int) -> str:
    """One letter, "Z" for a zombie; empty when there is no such process."""
    return _start_and_state(pid)[1]


def processes_of(argvs: Sequence[Sequence[str]]) -> dict[tuple[str, ...], int]:
    """Those of the argument lists that some process runs -> its pid; a shell before the copies of itself that it makes for `( )`, `&` and `|`."""
    wanted = {tuple(argv) for argv in argvs}
    longest = max(map(len, wanted), default=0)
    found: dict[tuple[str, ...], int] = {}
    for pid, argv in _every():
        for words in (argv[:n] for n in range(1, longest + 1)):
            if words in wanted and (words not in found or _leads_session(pid)):
                found[words] = pid
    return found


def parse_stat(text: str) -> tuple[str, str]:
    """(start in clock ticks, state) of the text of /proc/PID/stat, in which the program's name may hold anything.

    >>> parse_stat("7 (a) b) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0")
    ('4711', 'S')
    """
    fields = text.rpartition(")")[2].split()
    return (fields[19], fields[0]) if len(fields) > 19 else ("", "")


def parse_ps(text: str) -> tuple[str, str]:
    """(start, state) of the answer to `ps -o state=,lstart= -p PID`.

    >>> parse_ps("Ss   Tue Nov  3 09:12:44 2026    \\n")
    ('Tue Nov  3 09:12:44 2026', 'S')
    """
    state, _, start = text.strip().partition(" ")
    return start.strip(), state[:1]


def parse_ps_list(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """(pid, words) of the lines of `ps -axo pid=,command=`, which does not quote: words with spaces come apart.

    >>> parse_ps_list("    1 /sbin/launchd\\n  812 /bin/sh /Users/me/a/script.sh\\n")
    [(1, ('/sbin/launchd',)), (812, ('/bin/sh', '/Users/me/a/script.sh'))]
    """
    lines = (line.split(None, 1) for line in text.splitlines())
    return [(int(parts[0]), tuple(parts[1].split(" "))) for parts in lines if len(parts) == 2 and parts[0].isdigit()]


def parse_boottime(text: str) -> str:
    """Seconds since the epoch out of `sysctl -n kern.boottime`.

    >>> parse_boottime("{ sec = 1761992113, usec = 331007 } Sat Nov  1 11:15:13 2026")
    '1761992113'
    """
    match = re.search(r"\bsec = (\d+)", text)
    return match[1] if match else ""


def _start_and_state(pid: int) -> tuple[str, str]:
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text())
    except OSError:
        return ("", "") if (PROC / "self").exists() else parse_ps(_ask("ps", "-o", "state=,lstart=", "-p", str(pid)))


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:  # it has ended
        return False


def _every() -> Iterator[tuple[int, tuple[str, ...]]]:
    if not (PROC / "self").exists():
        yield from parse_ps_list(_ask("ps", "-axww", "-o", "pid=,command="))
        return
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")[:-1]
                yield int(entry.name), tuple(os.fsdecode(word) for word in words)


def _ask(*argv: str) -> str:
    """What a program of the system says, in the C locale; empty when it is not there."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}, errors="replace").stdout
    except OSError:
        return ""
