"""A value of a command line, by the annotation of its parameter.

Invariant: a parameter annotated `str` gets the text as it was typed, whatever it looks like; a quoted text is a number only where text cannot be
meant. The type decides, never the look: `3` is an int for int, "3" for str, 3.0 for float. Where nothing is annotated, null, true, false, numbers,
lists and mappings are what they look like, and everything else is text.

    from_text(parse_value("[1, 2]"), tuple[int, ...], "f.x")        # (1, 2)
"""

from __future__ import annotations

import re
import types
import typing
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.config import factories
from hpcflow.launch.config.buildable import Buildable, Config, annotation_of, make, set_argument
from hpcflow.launch.config.check import check_value, why_unchecked
from hpcflow.launch.config.convert import is_mapping_type, is_sequence_type, item_annotations, leaf_from_text, sequence_of
from hpcflow.launch.config.grammar import Bare, Call, FileRef, Items, Pairs, Quoted, Value, cut
from hpcflow.launch.config.stands import is_callable_type, members, spelled
from hpcflow.launch.config.target import UNSET

_INT = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_HEX = re.compile(r"[-+]?0[xX][0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(([0-9]+(_[0-9]+)*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?(inf|nan)", re.IGNORECASE)
_NULL = ("null", "none", "None")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


def from_text(node: Value, annotation: Any, where: str) -> Any:
    """The value that the text says. Raises ConfigError that names what is expected and the factories for it."""
    if isinstance(node, FileRef):
        return _from_file(node, annotation)
    parts = members(annotation)
    if str in parts and isinstance(node, Quoted):
        return node.text
    if any(part in (Any, object) for part in parts):
        return guess(node)
    problem = ""
    for part in sorted(parts, key=lambda part: part is not types.NoneType):
        if part is str:
            continue
        try:
            value = _one(node, part, where)
            if value is UNSET:
                continue
            if not isinstance(value, Buildable) and not why_unchecked(part):
                check_value(value, part, where)
            return value
        except ConfigError as error:
            problem = problem or str(error)
    if str in parts:
        return node.raw
    if problem:
        raise ConfigError(problem)
    raise ConfigError(f"{where}: expected {spelled(annotation)}, got the text {cut(node.raw)}{_hint(node, annotation)}")


def _hint(node: Value, annotation: Any) -> str:
    name = node.name if isinstance(node, Call) else node.raw.strip()
    suggestion = factories.suggest(name, annotation)
    return suggestion or ("; set its parameters one by one, or register a factory" if configurable(annotation) else "")


def _one(node: Value, kind: Any, where: str) -> Any:
    """The value as one member of a union; UNSET when the text says none."""
    text = node.text if isinstance(node, Quoted) else node.raw.strip()
    if kind is types.NoneType:
        return None if isinstance(node, Bare) and text in _NULL else UNSET
    if typing.get_origin(kind) is typing.Literal:
        return _literal(node, text, typing.get_args(kind))
    if isinstance(node, Bare | Quoted):
        value = _leaf(text, kind)
        if value is not UNSET:
            return value
    if isinstance(node, Items) and is_sequence_type(kind):
        annotations = item_annotations(kind, len(node.items))
        items = [from_text(item, part, f"{where}[{i}]") for i, (item, part) in enumerate(zip(node.items, annotations, strict=True))]
        return sequence_of(typing.get_origin(kind) or kind, items, UNSET)
    if isinstance(node, Pairs):
        return _pairs(node, kind, where)
    if isinstance(node, Call) or (isinstance(node, Bare) and (isinstance(kind, type) or is_callable_type(kind))):
        return _made(node, kind, where)
    return UNSET


def _literal(node: Value, text: str, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if (isinstance(choice, str) and choice == text) or (isinstance(node, Bare) and not isinstance(choice, str) and _spelling(choice) == text):
            return choice
    return UNSET


def _spelling(choice: Any) -> str:
    return str(choice).lower() if isinstance(choice, bool) else "null" if choice is None else str(choice)


def _leaf(text: str, kind: Any) -> Any:
    if kind is bool:
        lower = text.lower()
        return True if lower in _TRUE or text == "1" else False if lower in _FALSE or text == "0" else UNSET
    if kind is int:
        return _whole(text) if _INT.fullmatch(text) else int(text, 16) if _HEX.fullmatch(text) else UNSET
    if kind is float:
        return float(text) if _FLOAT.fullmatch(text) else UNSET
    if kind is bytes:
        return text.encode()
    if kind is complex:
        try:
            return complex(text)
        except ValueError:
            return UNSET
    return leaf_from_text(text, kind, otherwise=UNSET)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python reads no more digits than sys.get_int_max_str_digits() says
        raise ConfigError(f"{cut(text)} has more digits than a whole number may have") from None


def _pairs(node: Pairs, kind: Any, where: str) -> Any:
    if is_mapping_type(kind):
        keys, values = typing.get_args(kind) or (Any, Any)
        return {from_text(key, keys, where): from_text(value, values, f"{where}[{key.raw!r}]") for key, value in node.pairs}
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {_name(key): from_text(value, hints.get(_name(key), Any), f"{where}[{key.raw!r}]") for key, value in node.pairs}
    target = configurable(kind)
    if target is None:
        return UNSET
    config = make(Config, target)
    for key, value in node.pairs:
        name = _name(key)
        set_argument(config, name, from_text(value, annotation_of(config, name), f"{where}.{name}"))
    return config


def _name(key: Bare | Quoted) -> str:
    return key.text if isinstance(key, Quoted) else key.raw


def _made(node: Bare | Call, kind: Any, where: str) -> Any:
    """What the factory of that name makes; UNSET when there is none for this place."""
    name = node.name if isinstance(node, Call) else node.raw.strip()
    factory = factories.find(name, kind)
    if factory is None:
        return UNSET
    return call_factory(factory, node.arguments if isinstance(node, Call) else (), where)


def call_factory(factory: factories.Factory, arguments: tuple[tuple[str, Value], ...], where: str) -> Any:
    """Call it with texts, each by the annotation of its parameter."""
    draft = make(Config, factory.function)
    given: dict[str, Any] = {}
    for name, value in arguments:
        place = f"{factory.name}.{name}"
        annotation = annotation_of(draft, name)
        given[name] = check_value(from_text(value, annotation, place), annotation, place)
    return factories.call(factory, given)


def configurable(annotation: Any) -> Any:
    """The one class of the annotation whose parameters can be set one by one; None where there is none, or a choice."""
    parts = [part for part in members(annotation) if part is not types.NoneType]
    kinds = [typing.get_origin(part) or part for part in parts]
    kinds = [typing.get_args(part)[0] if isinstance(kind, type) and issubclass(kind, Buildable) and typing.get_args(part) else kind
             for part, kind in zip(parts, kinds, strict=True)]  # fmt: skip
    if len(kinds) != 1 or not isinstance(kinds[0], type) or kinds[0].__module__ in ("builtins", "typing", "collections.abc", "pathlib", "datetime"):
        return None
    plain = is_sequence_type(kinds[0]) or is_mapping_type(kinds[0]) or is_callable_type(kinds[0]) or hasattr(kinds[0], "__members__")
    return None if plain or getattr(kinds[0], "_is_protocol", False) else kinds[0]


def guess(node: Value) -> Any:
    """What an unannotated value looks like."""
    if isinstance(node, Quoted):
        return node.text
    if isinstance(node, Items):
        return [guess(item) for item in node.items]
    if isinstance(node, Pairs):
        return {(key.text if isinstance(key, Quoted) else guess(key)): guess(value) for key, value in node.pairs}
    if isinstance(node, Call):
        factory = factories.find(node.name, Any)
        return node.raw if factory is None else call_factory(factory, node.arguments, node.name)
    if isinstance(node, FileRef):
        return _from_file(node, Any)
    text = node.raw.strip()
    if text in _NULL or text in ("true", "false"):
        return None if text in _NULL else text == "true"
    if _INT.fullmatch(text):
        return _whole(text)
    return float(text) if _FLOAT.fullmatch(text) else node.raw


def _from_file(node: FileRef, annotation: Any) -> Any:
    from hpcflow.launch.config.overrides import value_of_file

    return value_of_file(node, annotation)
