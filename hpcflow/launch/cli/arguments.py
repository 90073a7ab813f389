"""The words of a command line, sorted into options and overrides: nothing is looked up, opened or run.

Invariant: a word that begins with a dash is an option of the table or an error; every other word is an override.

    parse_words(["--dryrun", "lr=1e-3"])        # Request(dryrun=True, overrides=("lr=1e-3",))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hpcflow.errors import ConfigError, near_names


@dataclasses.dataclass(frozen=True)
class Option:
    """One option; `value` names what follows it, "" for a switch."""

    name: str
    value: str
    help: str
    short: str = ""
    many: bool = False


OPTIONS = (
    Option("help", "", "this text", short="h"),
    Option("load", "FILE", "start from the configuration in a file (.yaml, .json, .toml)", many=True),
    Option("factory", "NAME(...)", "start from what a factory makes"),
    Option("executor", "NAME(...)", "where to run: local, slurm, or a factory; without it, in this process"),
    Option("name", "TITLE", "title of the experiment; default: the function's name"),
    Option("dryrun", "", "(or --dry-run) show what would run; contacts nothing and changes nothing"),
    Option("show", "", "print the configuration and what set each value, and run nothing"),
    Option("to-yaml", "FILE", "write the complete configuration (- for standard output) and run nothing"),
    Option("to-json", "FILE", "the same as JSON"),
    Option("to-toml", "FILE", "the same as TOML"),
    Option("yes", "", "do not ask before submitting", short="y"),
    Option("detach", "", "submit and return; with the local executor unless another is named", short="d"),
    Option("set", "SETTING=VALUE", "a setting of the launch layer for this call", many=True),
)
_BY_NAME = {option.name: option for option in OPTIONS}
_OTHERWISE = {"dry-run": "dryrun"}
"""Another spelling -> the option."""
_BY_SHORT = {option.short: option for option in OPTIONS if option.short}


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    overrides: tuple[str, ...] = ()
    help: bool = False
    load: tuple[str, ...] = ()
    factory: str = ""
    executor: str = ""
    name: str = ""
    dryrun: bool = False
    show: bool = False
    to_yaml: str = ""
    to_json: str = ""
    to_toml: str = ""
    yes: bool = False
    detach: bool = False
    set: tuple[str, ...] = ()

    @property
    def export(self) -> tuple[str, str]:
        """(format, file) of --to-yaml and its like; ("", "") without."""
        return next(((f, getattr(self, f"to_{f}")) for f in ("yaml", "json", "toml") if getattr(self, f"to_{f}")), ("", ""))


def parse_words(words: Sequence[str]) -> Request:
    """Sort the words. Raises ConfigError for an unknown option, with near names, and for one without its value."""
    found: dict[str, object] = {}
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            overrides.extend(rest)
            break
        if not word.startswith("-") or word == "-":
            overrides.append(word)
            continue
        option, value = _option(word)
        key = option.name.replace("-", "_")
        if not option.value:
            if value is not None:
                raise ConfigError(f"--{option.name} takes no value, and {value!r} was given")
            found[key] = True
            continue
        if value is None:
            if not rest:
                raise ConfigError(f"--{option.name} needs {option.value}")
            value = rest.pop(0)
        if not value:
            raise ConfigError(f"--{option.name} needs {option.value}, not an empty text")
        if option.many:
            before = found.get(key, ())
            assert isinstance(before, tuple)
            found[key] = (*before, value)
        elif key in found:
            raise ConfigError(f"--{option.name} was given twice")
        else:
            found[key] = value
    return Request(tuple(overrides), **found)  # type: ignore[arg-type]


def _option(word: str) -> tuple[Option, str | None]:
    name, equals, value = word.removeprefix("--").partition("=") if word.startswith("--") else (word[1:], "", "")
    known = _BY_NAME if word.startswith("--") else _BY_SHORT
    name = _OTHERWISE.get(name, name)
    if name not in known:
        near = near_names(name, _BY_NAME) if len(name) > 1 else ""
        raise ConfigError(f"there is no option {word.partition('=')[0]}{near or '; see --help'}; parameters are set by NAME=VALUE, without dashes")
    return known[name], value if equals else None
