"""Configurations in YAML, JSON and TOML files: complete, with the version of the schema and a hash of the content, read without running anything.

Invariant: `load(save(config, path))` equals the config, defaults included, in all three formats. A file that names no target only sets values
(`update`). Targets come from the allow-list; their import waits for build, unless the module is there already.

    save(config, "run.yaml")
    config = load("run.yaml", allow=["mylib"])
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from hpcflow.errors import ConfigError
from hpcflow.launch.config import toml_text, yaml_text
from hpcflow.launch.config.buildable import Buildable
from hpcflow.launch.config.building import check
from hpcflow.launch.config.document import SCHEMA, Decoder, encode, hash_of, settle
from hpcflow.launch.config.grammar import cut
from hpcflow.launch.config.script import Script

Format = Literal["yaml", "json", "toml"]
_SUFFIXES: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}
_HEADER = "hpcflow"
Lines = dict[tuple[Any, ...], int]


class EditedFileWarning(UserWarning):
    """A file's content is not what its hash says: it was changed after it was written."""


def dumps(config: Any, format: Format = "yaml") -> str:
    """The whole configuration as text, after a check of it. Raises ConfigError for what does not fit or cannot be written."""
    if not isinstance(config, Script):
        check(config)
    plain = encode(config)
    document = {_HEADER: {"schema": SCHEMA, "sha256": hash_of(plain)}, "config": plain}
    if format == "yaml":
        return yaml_text.write(document)
    if format == "json":
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if format == "toml":
        return toml_text.write(document)
    raise ConfigError(f"a configuration is written as 'yaml', 'json' or 'toml', not {format!r}")


def save(config: Any, path: str | os.PathLike[str]) -> Path:
    """Write the file that `path` names, in the format of its suffix, at once or not at all. Returns the path.

    Raises:
        ConfigError: for what does not fit, and for a file that cannot be written there.
    """
    path = Path(path)
    text = dumps(config, format_of(path))
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # readable by its owner only
    except OSError as error:
        raise ConfigError(f"the configuration file {str(path)!r} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def load(path: str | os.PathLike[str], *, allow: Iterable[str] = ()) -> Any:
    """The Config, Partial or Script of a file.

    Args:
        path: a .yaml, .yml, .json or .toml file.
        allow: modules and targets that it may name, besides those that settings and `launch.allow` list.

    Raises:
        ConfigError: with file and line, for a target that is not allowed, a value that does not fit, or a file that is damaged.
    """
    return loads(read_text(path), format_of(path), source=os.fspath(path), allow=allow)


def loads(text: str, format: Format = "yaml", *, source: str = "text", allow: Iterable[str] = ()) -> Any:
    """`load` for text; `source` is what messages call it."""
    data, lines = parse(text, format, source)
    plain, place = _body(data, source)
    if not isinstance(plain, dict) or not ("_target_" in plain or "_script_" in plain):
        raise ConfigError(f"{source}: it names no _target_; a file of values alone is applied to a Config by launch.update(config, file)")
    config = Decoder(source, lines, tuple(allow)).value(plain, place)
    if isinstance(config, Buildable):
        settle(config)
    return config


def _body(data: Any, source: str) -> tuple[Any, tuple[Any, ...]]:
    """The configuration in a document, with or without the header, and its place."""
    if not isinstance(data, dict) or not (set(data) == {_HEADER, "config"} and isinstance(data[_HEADER], dict)):
        return data, ()
    header, plain = data[_HEADER], data["config"]
    schema = header.get("schema")
    if schema != SCHEMA:
        raise ConfigError(f"{source}: written in schema {schema!r}, and this version reads {SCHEMA}; write it again with this version")
    if "sha256" in header and header["sha256"] != hash_of(plain):
        warnings.warn(f"{source} was edited after it was written: its content has another hash", EditedFileWarning, stacklevel=4)
    return plain, ("config",)


def format_of(path: str | os.PathLike[str]) -> Format:
    """The format that a file's suffix says."""
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(f"{os.fspath(path)}: a configuration file ends in {', '.join(_SUFFIXES)}")
    return _SUFFIXES[suffix]


def read_text(path: str | os.PathLike[str]) -> str:
    """The file's text; ConfigError when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"the configuration file {cut(os.fspath(path))} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_section(path: str | os.PathLike[str], section: str = "") -> tuple[Any, tuple[Any, ...], Lines]:
    """(data, place in the file, lines) of a file or of a dotted section of it."""
    data, lines = parse(read_text(path), format_of(path), os.fspath(path))
    data, place = _body(data, os.fspath(path))
    for step in section.split(".") if section else ():
        if not isinstance(data, Mapping) or step not in data:
            known = ", ".join(map(str, data)) if isinstance(data, Mapping) else "no sections"
            raise ConfigError(f"{os.fspath(path)} has no section {section!r}: at {step!r} there is {known}")
        data, place = data[step], (*place, step)
    return data, place, lines


def parse(text: str, format: Format, source: str) -> tuple[Any, Lines]:
    """Data and lines of a text in one of the formats. Raises ConfigError, of one line."""
    try:
        data, lines = _parsed(text, format, source)
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    level, depth = [data], 0
    while level := [part for value in level for part in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"{source}: nested deeper than {MAX_DEPTH} levels")
    return data, lines


def _parsed(text: str, format: Format, source: str) -> tuple[Any, Lines]:
    if format == "yaml":
        return yaml_text.parse(text, source)
    if format == "toml":
        return toml_text.parse(text, source)
    if format != "json":
        raise ConfigError(f"a configuration is read as 'yaml', 'json' or 'toml', not {format!r}")
    try:
        data = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: no JSON: {str(error).partition('; use sys.')[0]}") from None
    try:
        return data, yaml_text.parse(text, source)[1]  # JSON is YAML: for the lines alone
    except ConfigError:
        return data, {}


MAX_DEPTH = 200
"""Levels of a file: configurations have a dozen, and what reads them calls itself for each."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f'{text} is no number of JSON; write {{"_float_": "nan"}}')
