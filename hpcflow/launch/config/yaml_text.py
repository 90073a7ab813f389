"""YAML read and written safely, as YAML 1.2 means it: `no` is text, 1e-3 is a number, 12:30:00 is text; and the line of every value.

Invariant: only mappings, lists, text, numbers, booleans and null come out; tags, duplicate keys, merge keys and cycles are refused. What is written
reads back the same here, and in a YAML 1.1 reader too, since text that one of them would take for another thing is quoted.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.extras import require

MAX_NODES = 1_000_000
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}


def parse(text: str, source: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """The data and, by place (keys and indexes), the line from 1. Raises ConfigError with file and line."""
    yaml = require("yaml", "a YAML file")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark is not None else source
        raise ConfigError(f"{place}: no YAML: {getattr(error, 'problem', None) or ' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    lines: dict[tuple[Any, ...], int] = {}
    return (None if node is None else _Reader(source, lines).read(node, (), ())), lines


class _Reader:
    def __init__(self, source: str, lines: dict[tuple[Any, ...], int]) -> None:
        self.source, self.lines, self.count = source, lines, 0

    def read(self, node: Any, place: tuple[Any, ...], above: tuple[int, ...]) -> Any:
        self.count += 1
        if self.count > MAX_NODES or id(node) in above:
            raise self.error(node, "aliases make it endless or larger than a million values")
        self.lines.setdefault(place, node.start_mark.line + 1)
        if node.id == "scalar":
            return self.scalar(node)
        if node.tag not in ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
            raise self.error(node, f"the tag {node.tag} is not read")
        if node.id == "sequence":
            return [self.read(part, (*place, i), (*above, id(node))) for i, part in enumerate(node.value)]
        found: dict[Any, Any] = {}
        for key_node, part in node.value:
            if key_node.id != "scalar":
                raise self.error(key_node, "a key is a list or mapping")
            if key_node.value == "<<" and key_node.style is None:
                raise self.error(key_node, "merge keys (<<) are not read; write the values out")
            key = self.scalar(key_node)
            if key in found:
                raise self.error(key_node, f"the key {key!r} is there twice")
            found[key] = self.read(part, (*place, key), (*above, id(node)))
            self.lines[(*place, key)] = key_node.start_mark.line + 1
        return found

    def scalar(self, node: Any) -> Any:
        if node.style is not None:
            if node.tag != "tag:yaml.org,2002:str":
                raise self.error(node, f"the tag {node.tag} is not read")
            return node.value
        try:
            return plain_scalar(node.value)
        except ValueError as error:  # more digits than Python reads
            raise self.error(node, str(error).partition("; use sys.")[0]) from None

    def error(self, node: Any, message: str) -> ConfigError:
        return ConfigError(f"{self.source}:{node.start_mark.line + 1}: {message}")


def plain_scalar(text: str) -> Any:
    """What an unquoted word of YAML 1.2 is."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL.fullmatch(text)
    if special:
        return float("nan") if special[3] else float(f"{special[1]}inf")
    return text


def write(data: Any) -> str:
    """Data as YAML text."""
    yaml = require("yaml", "a YAML file")
    text: str = yaml.dump(data, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=150, default_flow_style=False)
    return text


@functools.cache
def _dumper() -> Any:
    yaml = require("yaml", "a YAML file")
    dumper: Any = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})

    def represent_text(self: Any, text: str) -> Any:
        # PyYAML quotes what a YAML 1.1 reader would not take for text; what only 1.2 reads as a number is quoted here.
        style = '"' if not isinstance(plain_scalar(text), str) or "\x85" in text or "\u2028" in text or "\u2029" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def represent_float(self: Any, number: float) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:float", _number_text(number))

    dumper.add_representer(str, represent_text)
    dumper.add_representer(float, represent_float)
    return dumper


def _number_text(number: float) -> str:
    text = repr(number)
    if "e" in text and "." not in text:  # 1e-05 is text for a YAML 1.1 reader
        text = text.replace("e", ".0e")
    return text
