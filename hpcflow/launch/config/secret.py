"""A Secret names where a value is to be found; the value itself is read in the job and is in no file, argument list or message.

Invariant: nothing but `reveal()` reads the value, and nothing of ours calls that before a Config is built. A file must belong to the user and be
closed to others (0600); a command is an argument list, never a shell line, and its first line of output counts.

    token = Secret.variable("HF_TOKEN")
    token = Secret.file("~/.config/token")
    token = Secret.command(["pass", "show", "hf"])
    print(token)        # Secret.variable('HF_TOKEN')
"""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from collections.abc import Sequence
from typing import Literal

from hpcflow.errors import ConfigError

COMMAND_TIMEOUT_S = 60.0


@dataclasses.dataclass(frozen=True)
class Secret:
    """A reference to a secret. Make it by `Secret.variable`, `Secret.file` or `Secret.command`."""

    kind: Literal["variable", "file", "command"]
    source: tuple[str, ...]  # the variable's name, the path, or the command's words

    @classmethod
    def variable(cls, name: str) -> Secret:
        """The environment variable `name` of the job. A local task inherits it; a Slurm job gets it when the executor says so (`hand_over`)."""
        if not name or "=" in name or "\0" in name:
            raise ConfigError(f"{name!r} is not the name of an environment variable")
        return cls("variable", (name,))

    @classmethod
    def file(cls, path: str | os.PathLike[str]) -> Secret:
        """The content of a file of the user that nobody else may read, without the line break at its end."""
        return cls("file", (os.fspath(path),))

    @classmethod
    def command(cls, words: Sequence[str]) -> Secret:
        """The first line that a command prints; `words` is its argument list."""
        if isinstance(words, str) or not words or not all(isinstance(word, str) for word in words):
            raise ConfigError('Secret.command takes an argument list such as ["pass", "show", "token"], and no shell line')
        return cls("command", tuple(words))

    def reveal(self) -> str:
        """The value. Raises ConfigError that names the source, never the value."""
        if self.kind == "variable":
            value = os.environ.get(self.source[0])
            if value is None:
                raise ConfigError(f"the secret's variable {self.source[0]} is not set here; export it before a local task")
            return value
        return self._read_file() if self.kind == "file" else self._run_command()

    def _read_file(self) -> str:
        path = os.path.expanduser(self.source[0])
        try:
            with open(path, encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid():
                    raise ConfigError(f"the secret's file {path} belongs to another user")
                if stat.S_IMODE(status.st_mode) & 0o077:
                    raise ConfigError(f"the secret's file {path} can be read by others: chmod 600 {path}")
                return file.read().removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise ConfigError(f"the secret's file {path} cannot be read: {error.strerror}") from None

    def _run_command(self) -> str:
        try:
            done = subprocess.run(self.source, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
            raise ConfigError(f"the secret's command {self.source[0]!r} did not run: {reason}") from None
        if done.returncode != 0:
            raise ConfigError(f"the secret's command {self.source[0]!r} ended with status {done.returncode}")
        lines = done.stdout.splitlines()
        if not lines:
            raise ConfigError(f"the secret's command {self.source[0]!r} printed nothing")
        return lines[0]

    def __repr__(self) -> str:
        argument = repr(list(self.source)) if self.kind == "command" else repr(self.source[0])
        return f"Secret.{self.kind}({argument})"
