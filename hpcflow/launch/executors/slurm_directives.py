"""`#SBATCH` lines: Slurm's own quoting, and the fields of a job as options.

sbatch does not read directives as a shell does: words end at white space, single and double quotes both group, and a backslash takes the next
character literally everywhere, inside single quotes too. So shell quoting is wrong here (a name with a quote would end early and the rest be read as
options), and this quoting is its own: double quotes, with a backslash before each backslash and double quote. A test compares every field with what
`scontrol show job` says.

    >>> directive("job-name", 'a "b"')
    '#SBATCH --job-name="a \\\\"b\\\\""'
"""

from __future__ import annotations

import re
import unicodedata

from hpcflow.errors import ConfigError
from hpcflow.launch.request import JobRequest

_PLAIN = re.compile(r"[A-Za-z0-9_./:,=+@%-]+\Z")


def directive(option: str, value: str | None = None) -> str:
    """One line. Raises ConfigError for a value with a control character, which could begin a line of its own."""
    if value is None:
        return f"#SBATCH --{option}"
    refuse_control(option, value)
    return f"#SBATCH --{option}={quoted(value)}"


def quoted(value: str) -> str:
    """`value` as sbatch reads it back."""
    return value if _PLAIN.match(value) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def refuse_control(field: str, value: str) -> None:
    """Raises ConfigError for control characters (line ends among them) and lone surrogates."""
    if value.isascii() and value.isprintable():
        return
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise ConfigError(f"Slurm field {field}: {value!r} holds the control character {character!r}, which no Slurm option may")


def with_defaults(options: list[tuple[str, str | None]], request: JobRequest) -> list[tuple[str, str | None]]:
    """The options, and before them what the request needs and they do not name."""
    named = {name for name, _ in options}
    added: list[tuple[str, str | None]] = []
    if not named & {"ntasks", "ntasks-per-node"}:
        added.append(("ntasks", str(request.ntasks)))
    if not named & {"cpus-per-task", "cpus-per-gpu"}:
        added.append(("cpus-per-task", str(request.cpus_per_task)))
    if request.memory_mb is not None and not named & {"mem", "mem-per-cpu", "mem-per-gpu"}:
        added.append(("mem", f"{request.memory_mb}M"))
    if request.gpus and not named & {"gpus", "gpus-per-node", "gpus-per-task", "gres"}:
        added.append(("gpus", str(request.gpus)))
    return [*added, *options]


def short_name(task: str) -> str:
    """The task's name as the head of a job name: printable, at most 60 characters."""
    return "".join(c if c.isprintable() else "?" for c in task)[:60]


def no_percent(path: str) -> str:
    """A path in which sbatch replaces nothing."""
    return path.replace("%", "%%")
