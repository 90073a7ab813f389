r"""The words of an override, read into a tree: no types, no names looked up, nothing evaluated.

    override = path ( "=" | "+=" | "-=" ) values | "~" path | file ;
    path     = name { "." key | "[" index "]" | "[" quoted "]" } ;
    values   = value { "," value } ;                       (* more than one: a sweep *)
    value    = quoted | list | mapping | call | file | bare ;
    list     = "[" [ value { "," value } ] "]" ;
    mapping  = "{" [ key ":" value { "," key ":" value } ] "}" ;
    call     = dotted "(" [ name "=" value { "," name "=" value } ] ")" ;
    file     = "@" ( bare | quoted ) [ ":" section ] ;
    quoted   = '"' { character | escape } '"' | "'" { character | "\'" | "\\" } "'" ;
    escape   = "\" ( '"' | "\" | "n" | "t" | "r" | "u" 4 hex | "U" 8 hex ) ;
    bare     = text without a comma outside of brackets, its brackets balanced ;
    dotted   = name { "." name } ;      section = key { "." key } ;
    name     = a Python identifier ;    key     = letters, digits, "_" and "-" ;    index = [ "-" ] digits ;

Invariant: every value keeps the text it came from (`raw`), so that a parameter annotated `str` gets just that; a quote means a quoted text only
where a value begins; brackets that are not balanced are an error that says to quote.

    parse("model.lr=1e-3,1e-4").values      # (Bare('1e-3'), Bare('1e-4'))
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Literal

from hpcflow.errors import ConfigError

Operator = Literal["=", "+=", "-=", "~", "@"]


@dataclasses.dataclass(frozen=True)
class Bare:
    """Unquoted text; also what has the form of nothing else."""

    raw: str


@dataclasses.dataclass(frozen=True)
class Quoted:
    """Text in quotes: never a number or name."""

    raw: str
    text: str


@dataclasses.dataclass(frozen=True)
class Items:
    """[a, b]"""

    raw: str
    items: tuple[Value, ...]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """{a: b}"""

    raw: str
    pairs: tuple[tuple[Bare | Quoted, Value], ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """name(a=b): a factory, where its result fits."""

    raw: str
    name: str
    arguments: tuple[tuple[str, Value], ...]


@dataclasses.dataclass(frozen=True)
class FileRef:
    """@file.yaml:section"""

    raw: str
    path: str
    section: str


Value = Bare | Quoted | Items | Pairs | Call | FileRef


@dataclasses.dataclass(frozen=True)
class Override:
    """One word of a command line."""

    raw: str
    head: str  # path and operator, as typed
    path: tuple[str | int, ...]
    operator: Operator  # "@": a file for the whole configuration
    values: tuple[Value, ...]  # several: a sweep; none after ~


_PATH = re.compile(r"""[^\W\d]\w*(?:\.[\w-]*\w|\[-?\d+\]|\["(?:[^"\\]|\\.)*"\]|\['(?:[^'\\]|\\.)*'\])*""")
_STEP = re.compile(r"""\.?([\w-]+)|\[(-?\d+)\]|\[("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\]""")
_CALL = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)\((.*)\)", re.DOTALL)
_NAME = re.compile(r"[^\W\d]\w*")
_SECTION = re.compile(r"[\w-]+(\.[\w-]+)*")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_CLOSES = {"(": ")", "[": "]", "{": "}"}
MAX_DEPTH = 64
"""Brackets within brackets, and steps of a path."""
_SHOWN = 160


def cut(text: str) -> str:
    """`repr(text)` for a message of one line, a long one without its middle."""
    shown = repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN // 2]}...{shown[-_SHOWN // 2 :]}"


def parse(text: str) -> Override:
    """One override. Raises ConfigError that shows the text and says what is expected."""
    if text.startswith("@"):
        return Override(text, "@", (), "@", (_file(text),))
    erased = text.startswith("~")
    found = _PATH.match(text, 1 if erased else 0)
    if not found:
        raise ConfigError(f"{cut(text)} is no override; write name=value, name+=value, name-=value, ~name or @file.yaml")
    rest = text[found.end() :]
    if erased:
        if rest:
            raise ConfigError(f"{cut(text)}: behind ~ stands the name alone, and {cut(rest)} is too much")
        return Override(text, text, _steps(found[0]), "~", ())
    operators: tuple[Operator, ...] = ("=", "+=", "-=")
    for operator in operators:
        if rest.startswith(operator):
            return Override(text, found[0] + operator, _steps(found[0]), operator, _values(rest[len(operator) :], text))
    raise ConfigError(f"{cut(text)}: expected =, += or -= behind {cut(found[0])}")


def _steps(path: str) -> tuple[str | int, ...]:
    steps: list[str | int] = []
    for key, index, quoted in _STEP.findall(path):
        steps.append(int(index) if index else _unquoted(quoted) if quoted else key)
    if len(steps) > MAX_DEPTH:
        raise ConfigError(f"{cut(path)}: a path has at most {MAX_DEPTH} steps")
    return tuple(steps)


def parse_path(text: str) -> tuple[str | int, ...]:
    """The steps of a path alone."""
    if not _PATH.fullmatch(text):
        raise ConfigError(f"{cut(text)} is no path; write a.b, a[0] or a['key']")
    return _steps(text)


def _values(text: str, whole: str) -> tuple[Value, ...]:
    pieces = split(text, ",", whole)
    if len(pieces) == 1:
        return (parse_value(text, whole),)
    return tuple(parse_value(_not_empty(piece, whole), whole) for piece in pieces)


def _not_empty(piece: str, whole: str) -> str:
    if not piece.strip():
        raise ConfigError(f"{cut(whole)}: a value of the sweep is empty; put text that holds a comma in quotes")
    return piece.strip()


def parse_value(text: str, whole: str = "") -> Value:
    """One value. `whole` is the override for messages."""
    whole, short = whole or text, text.strip()
    if short[:1] in ("'", '"') and _quote_end(short, 0) == len(short):
        return Quoted(text, _unquoted(short, whole))
    if short[:1] in ("'", '"') and 0 < _quote_end(short, 0) < len(short):
        raise ConfigError(f"{cut(whole)}: {cut(short[_quote_end(short, 0) :])} stands behind a closing quote; quote the whole text")
    if short.startswith("@"):
        return _file(short)
    if short.startswith("[") and short.endswith("]"):
        return Items(text, tuple(parse_value(_not_empty(piece, whole), whole) for piece in _inside(short[1:-1], whole)))
    if short.startswith("{") and short.endswith("}"):
        pairs = [split(piece, ":", whole) for piece in _inside(short[1:-1], whole)]
        if all(len(pair) >= 2 for pair in pairs):
            return Pairs(text, tuple((_key(pair[0], whole), parse_value(":".join(pair[1:]).strip(), whole)) for pair in pairs))
    call = _CALL.fullmatch(short)
    if call:
        arguments = [split(piece, "=", whole) for piece in _inside(call[2], whole)]
        if all(len(pair) >= 2 and _NAME.fullmatch(pair[0].strip()) for pair in arguments):
            return Call(text, call[1], tuple((pair[0].strip(), parse_value("=".join(pair[1:]).strip(), whole)) for pair in arguments))
    split(short, ",", whole)  # brackets are balanced
    return Bare(text)


def _inside(text: str, whole: str) -> list[str]:
    return split(text, ",", whole) if text.strip() else []


def _key(text: str, whole: str) -> Bare | Quoted:
    key = parse_value(text.strip(), whole)
    return key if isinstance(key, Bare | Quoted) else Bare(text.strip())


def _file(text: str) -> FileRef:
    rest = text[1:]
    if rest[:1] in ("'", '"'):
        end = _quote_end(rest, 0)
        path, behind = _unquoted(rest[:end], text), rest[end:]
    else:
        path, colon, section = rest.rpartition(":")
        path, behind = (path, colon + section) if colon and _SECTION.fullmatch(section) else (rest, "")
    if not path or (behind and not (behind.startswith(":") and _SECTION.fullmatch(behind[1:]))):
        raise ConfigError(f"{cut(text)}: a file is written @file.yaml or @file.yaml:section")
    return FileRef(text, path, behind[1:])


def split(text: str, separator: str, whole: str) -> list[str]:
    """Pieces between separators that stand outside of brackets and quoted values. Raises ConfigError for unbalanced brackets."""
    pieces: list[str] = []
    closers: list[str] = []
    start = position = 0
    begins = True  # a value begins here, so that a quote is a quote
    while position < len(text):
        character = text[position]
        if begins and character in "'\"":
            position = _quote_end(text, position)
            if position < 0:
                raise ConfigError(f"{cut(whole)}: a quote is not closed")
            begins = False
            continue
        if character in _CLOSES:
            closers.append(_CLOSES[character])
            if len(closers) > MAX_DEPTH:
                raise ConfigError(f"{cut(whole)}: more than {MAX_DEPTH} brackets within each other; put it into a file")
        elif character in ")]}":
            if not closers or closers.pop() != character:
                raise ConfigError(f"{cut(whole)}: {character!r} closes nothing; put text with brackets in quotes")
        elif character == separator and not closers:
            pieces.append(text[start:position])
            start = position + 1
        begins = character in "([{,:=" or (begins and character in " @")
        position += 1
    if closers:
        raise ConfigError(f"{cut(whole)}: {closers[-1]!r} is missing; put text with brackets in quotes")
    return [*pieces, text[start:]]


def _quote_end(text: str, start: int) -> int:
    """The position behind the closing quote; -1 when there is none."""
    position = start + 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text[position] == text[start]:
            return position + 1
        else:
            position += 1
    return -1


def _unquoted(quoted: str, whole: str = "") -> str:
    inner, result, position = quoted[1:-1], [], 0
    while position < len(inner):
        if inner[position] != "\\":
            result.append(inner[position])
            position += 1
            continue
        escape = inner[position + 1 : position + 2]
        if quoted[0] == "'" and escape not in ("'", "\\"):
            result.append("\\")
            position += 1
        elif quoted[0] == "'" or escape in _ESCAPES:
            result.append(escape if quoted[0] == "'" else _ESCAPES[escape])
            position += 2
        else:
            size = {"u": 4, "U": 8}.get(escape, 0)
            digits = inner[position + 2 : position + 2 + size]
            if not size or not re.fullmatch(f"[0-9a-fA-F]{{{size}}}", digits) or int(digits, 16) > 0x10FFFF:
                raise ConfigError(f'{cut(whole or quoted)}: \\{escape} is no escape; there are \\" \\\\ \\n \\t \\r \\uXXXX \\UXXXXXXXX')
            result.append(chr(int(digits, 16)))
            position += 2 + size
    return "".join(result)


_QUOTED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote(text: str) -> str:
    """The text as a quoted value."""
    return '"' + "".join(_QUOTED.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text) + '"'


def spell(value: Any) -> str:
    """A value as an override writes it: text in quotes, null, true, numbers, lists and mappings. Raises ConfigError for others."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(spell(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{spell(key)}: {spell(part)}" for key, part in value.items()) + "}"
    raise ConfigError(f"{value!r} cannot be written as an override")
