"""A Script is a task that is no Python function: a file (a script or a compiled program), lines of shell, or a Python module.

Invariant: a Script is frozen, holds text only, and its words go to the job as an argument list, never through a shell of ours. A Secret may stand in
`env` (it travels as a reference) and never in `args`.

    Script("prepare.sh", args=["--year", "2024"], env={"LANG": "C"})
    Script(inline="set -e\\nmake data")
    Script(module="mylib.prepare", args=["--fast"])
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from hpcflow.errors import ConfigError
from hpcflow.launch.config.secret import Secret

SHELL = "/bin/sh"


@dataclasses.dataclass(frozen=True)
class Script:
    """A program to run; exactly one of `path`, `inline` and `module` is given."""

    path: str | os.PathLike[str] = ""  # a file, relative to the task's working directory
    _: dataclasses.KW_ONLY
    inline: str = ""  # lines of the interpreter, by default /bin/sh
    module: str = ""  # python -m module
    args: Sequence[str] = ()
    env: Mapping[str, str | Secret] = dataclasses.field(default_factory=dict)
    interpreter: Sequence[str] = ()  # words before the file; default: its #! line, python for .py, none for a compiled program, else /bin/sh

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "path", os.fspath(self.path))
        given = [name for name in ("path", "inline", "module") if getattr(self, name)]
        if len(given) != 1:
            problem = "nothing" if not given else " and ".join(given)
            raise ConfigError(f"a Script takes exactly one of path, inline and module; {problem} was given")
        for name in ("args", "interpreter"):
            words = getattr(self, name)
            if isinstance(words, str):
                raise ConfigError(f"Script({name}=...) takes a list of words, not one string: {name}=[{words!r}]")
            set_(self, name, tuple(words))
            for word in getattr(self, name):
                if isinstance(word, Secret):
                    raise ConfigError(f"a Secret in {name} would be seen by everybody on the machine; hand it over in env")
                _require_text(word, f"a word of {name}")
        set_(self, "env", dict(self.env))
        for key, value in self.env.items():
            _require_text(key, "a name in env")
            if not key or "=" in key:
                raise ConfigError(f"{key!r} is not the name of an environment variable")
            if not isinstance(value, Secret):
                _require_text(value, f"env[{key!r}]")
        for name in ("path", "inline", "module"):
            _require_text(getattr(self, name), name)

    def argv(self, python: str = "python3") -> tuple[str, ...]:
        """The words that start it. Reads the `#!` line of `path` where the file is there and no interpreter is given."""
        if self.module:
            return (*(self.interpreter or (python,)), "-m", self.module, *self.args)
        if self.inline:
            return (*(self.interpreter or (SHELL,)), "-c", self.inline, *((SHELL, *self.args) if not self.interpreter else self.args))
        path = str(self.path)
        return (*(self.interpreter or _interpreter_of(path, python)), path, *self.args)


def _interpreter_of(path: str, python: str) -> tuple[str, ...]:
    if path.endswith(".py"):
        return (python,)
    try:
        with open(path, "rb") as file:
            begin = file.read(512)
    except OSError:
        return (SHELL,)
    if begin.startswith(b"#!"):
        return tuple(begin[2:].partition(b"\n")[0].decode(errors="replace").strip().split(maxsplit=1)) or (SHELL,)
    return () if b"\0" in begin else (SHELL,)  # a compiled program starts by itself


def _require_text(value: object, what: str) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"{what} of a Script is text, not {type(value).__name__} {value!r}")
    if "\0" in value:
        raise ConfigError(f"{what} of a Script holds a NUL character")
