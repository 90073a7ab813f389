"""Settings of the launch layer: /etc, the user's file, the project's file, the environment, the command line; later ones win.

Invariant: every value has the source that set it. A file that belongs to neither root nor the user, or that others may write, is refused, not
skipped. What lets files name code (`allow`) is taken from /etc and the user's file alone, and nothing that runs commands or says where files go from
a project that was merely downloaded.

    settings().home                     # '/home/me/.local/share/hpcflow'
    print(settings().show())            # home = '/scratch/me'   (variable HPCFLOW_LAUNCH_HOME)

| source | where |
|---|---|
| site | /etc/hpcflow/launch.toml |
| user | $XDG_CONFIG_HOME/hpcflow/launch.toml (~/.config/hpcflow/launch.toml) |
| project | hpcflow-launch.toml in the working directory or above it, up to the top of the git repository |
| environment | HPCFLOW_LAUNCH_<SETTING>, lists separated by commas |
| command line | --set setting=value |
"""

from __future__ import annotations

import dataclasses
import os
import stat
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpcflow.errors import ConfigError, near_names

SITE_FILE = "/etc/hpcflow/launch.toml"
PROJECT_FILE = "hpcflow-launch.toml"
PREFIX = "HPCFLOW_LAUNCH_"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected text")
    return value


def _path(value: Any) -> str:
    return os.path.abspath(os.path.expanduser(_text(value)))


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        raise ValueError("expected a list of texts")
    return tuple(value)


def _paths(value: Any) -> tuple[str, ...]:
    return tuple(_path(part) for part in _texts(value))


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError("expected seconds") from None
    if isinstance(value, bool) or not number >= 10:
        raise ValueError("expected at least 10 seconds: a scheduler is asked no more often")
    return number


def _setting(default: Any, parse: Callable[[Any], Any], doc: str, trusted: bool = False, own: bool = False) -> Any:
    """trusted: from the files of site and user alone; own: from any source but a project's file."""
    return dataclasses.field(default=default, metadata={"parse": parse, "doc": doc, "trusted": trusted, "own": own})


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings, checked."""

    home: str = _setting("", _path, "directory of experiments; default $XDG_DATA_HOME/hpcflow or ~/.local/share/hpcflow", own=True)
    allow: tuple[str, ...] = _setting((), _texts, "modules and targets that configuration files may name (site and user files only)", trusted=True)
    templates: tuple[str, ...] = _setting((), _paths, "directories with job templates of the site (site and user files only)", trusted=True)
    executor: str = _setting("", _text, "executor of command lines that name none, such as slurm(nodes=2); default: in the process itself", own=True)
    account: str | None = _setting(None, _text, "Slurm account of jobs that name none")
    partition: str | None = _setting(None, _text, "Slurm partition of jobs that name none")
    qos: str | None = _setting(None, _text, "Slurm quality of service of jobs that name none")
    poll_s: float = _setting(30.0, _seconds, "seconds between two questions to a scheduler, at least 10")
    sources: tuple[tuple[str, str], ...] = dataclasses.field(default=(), compare=False, repr=False)

    def where(self, name: str) -> str:
        """What set it: `default`, `file <path>`, `variable <name>`, `flag --set <name>`."""
        _known(name, "where()")
        return dict(self.sources).get(name, "default")

    def show(self) -> str:
        """A line for every setting: name, value, what set it."""
        return "\n".join(f"{name} = {getattr(self, name)!r}   ({self.where(name)})" for name in SETTINGS)


SETTINGS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(Settings) if field.name != "sources"}
"""Every setting's field; `.metadata["doc"]` is its line of help."""

_flags: dict[str, Any] = {}


def set_flags(values: Mapping[str, str]) -> None:
    """Settings of the command line, which win over all others; an empty mapping takes them back."""
    for name in values:
        _known(name, "--set")
    _flags.clear()
    _flags.update(values)


def flags_as_variables() -> dict[str, str]:
    """What the command line has set, as variables for a process that goes on with this one's work."""
    return {PREFIX + name.upper(): str(value) for name, value in _flags.items()}


def settings() -> Settings:
    """The settings as they are now. Raises ConfigError for what is wrong in any source, and for a file of another user."""
    environ = os.environ
    layers: list[tuple[str, Mapping[str, Any], bool]] = []
    for path, trusted in ((SITE_FILE, True), (user_file(environ), True), (_here() and project_file(_here()), False)):
        table = read_file(path) if path else None
        if table is not None:
            layers.append((f"file {path}", table, trusted))
    return resolve_settings(layers, environ, _flags)


def _here() -> str:
    """The working directory; empty when it has been removed, and then there is no project."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


RECENT_S = 1.0
_recent: dict[tuple[Any, ...], tuple[float, Settings]] = {}


def recent_settings() -> Settings:
    """The settings as they were at most `RECENT_S` ago in the same directory with the same variables: for who asks a thousand times."""
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", *(PREFIX + name.upper() for name in SETTINGS))
    key = (_here(), tuple(os.environ.get(name) for name in names), tuple(_flags.items()))
    known = _recent.get(key)
    if known is None or time.monotonic() - known[0] > RECENT_S:
        _recent.clear()
        _recent[key] = known = (time.monotonic(), settings())
    return known[1]


def resolve_settings(layers: list[tuple[str, Mapping[str, Any], bool]], environ: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Merge (source, table, trusted) of files with variables and flags. Pure."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def put(name: str, value: Any, source: str, trusted: bool, project: bool = False) -> None:
        field = _known(name, source)
        if field.metadata["own"] and project:
            raise ConfigError(f"setting {name!r} ({source}) does not count in a project's file, which may be another's: it says what runs or where")
        if field.metadata["trusted"] and not trusted:
            raise ConfigError(f"setting {name!r} ({source}) counts only in {SITE_FILE} and in the user's file: it decides what files may run")
        try:
            values[name] = field.metadata["parse"](value)
        except ValueError as error:
            raise ConfigError(f"setting {name!r} ({source}): {error}, got {value!r}. It is: {field.metadata['doc']}") from None
        sources[name] = source

    for source, table, trusted in layers:
        for name, value in table.items():
            put(name, value, source, trusted, project=not trusted)
    for variable, value in environ.items():
        if variable.startswith(PREFIX) and value:
            put(variable.removeprefix(PREFIX).lower(), value, f"variable {variable}", False)
    for name, value in flags.items():
        put(name, value, f"flag --set {name}", False)
    values.setdefault("home", default_home(environ))
    return Settings(**values, sources=tuple(sorted(sources.items())))


def _known(name: str, source: str) -> dataclasses.Field[Any]:
    if name not in SETTINGS:
        raise ConfigError(f"unknown setting {name!r} ({source}){near_names(name, SETTINGS) or '.'} Settings are: {', '.join(SETTINGS)}")
    return SETTINGS[name]


def default_home(environ: Mapping[str, str]) -> str:
    """Where experiments are kept when nothing says otherwise."""
    base = environ.get("XDG_DATA_HOME") or os.path.join(_home(environ), ".local", "share")
    return os.path.join(base, "hpcflow")


def user_file(environ: Mapping[str, str]) -> str:
    """The user's file, there or not."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(_home(environ), ".config")
    return os.path.join(base, "hpcflow", "launch.toml")


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def project_file(directory: str) -> str | None:
    """The nearest hpcflow-launch.toml in `directory` or above it, no higher than the top of its git repository."""
    for folder in (Path(directory), *Path(directory).parents):
        if (folder / PROJECT_FILE).exists():
            return str(folder / PROJECT_FILE)
        if (folder / ".git").exists():
            return None
    return None


def read_file(path: str) -> dict[str, Any] | None:
    """The table of a settings file; None when it is not there. ConfigError for one that others own or may write, and for bad TOML."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()):
                raise ConfigError(f"the settings file {path} belongs to user {status.st_uid}, not to root or you: remove or chown it")
            if status.st_mode & stat.S_IWOTH:
                raise ConfigError(f"the settings file {path} may be written by everybody: chmod o-w {path}")
            return tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} is no TOML: {error}") from None
