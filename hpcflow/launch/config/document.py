"""A Config as plain data (mappings, lists, text, numbers, None) and back: what all file formats write.

Invariant: `decode(encode(config)) == config`, defaults included, and nothing is called or imported by decoding: a target stays a name until it is
built or its module is already there. What plain data cannot say is a mapping with one key between underscores; a mapping of the user with such a key
is written as pairs, so that no text in a file can pass for another thing.

    {"_target_": "mylib:Model", "hidden": 512, "layers": [1, 2], "_defaults_": ["layers"]}

| written | is |
|---|---|
| `_target_`, `_partial_`, `_class_`, `_defaults_` | a Config: target, whether a Partial, typed subclass, which values are only defaults |
| `_id_`, `_same_` | a Config that stands in several places |
| `_ref_` | a class, function or enum member, by its path |
| `_secret_` | where a secret is found |
| `_tuple_`, `_set_`, `_frozenset_`, `_dict_`, `_bytes_`, `_path_`, `_float_`, ... | a value of that type, where the annotation does not say so |
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Self

from hpcflow.errors import ConfigError
from hpcflow.launch.config import scalars
from hpcflow.launch.config.allow import is_imported, require_allowed, resolve_node
from hpcflow.launch.config.buildable import Buildable, Config, Partial, State, annotation_of, effective, get_argument, state_of
from hpcflow.launch.config.building import holds_buildable
from hpcflow.launch.config.convert import from_file
from hpcflow.launch.config.origin import Change, Origin
from hpcflow.launch.config.script import Script
from hpcflow.launch.config.secret import Secret
from hpcflow.launch.config.target import UNSET, path_of
from hpcflow.launch.config.tree import nodes

SCHEMA = 1
_TAG = re.compile(r"_[a-z]+_")
_NODE_KEYS = {"_target_", "_partial_", "_class_", "_defaults_", "_id_"}
Lines = Mapping[tuple[Any, ...], int]


@dataclasses.dataclass(frozen=True)
class Ref:
    """A class, function or enum member that a file names, before it is imported."""

    path: str


def encode(config: Any) -> dict[str, Any]:
    """A Config, Partial or Script as plain data. Raises ConfigError that names the value which cannot be written."""
    if isinstance(config, Script):
        return {"_script_": _encode_script(config)}
    encoded: dict[str, Any] = Encoder.of(config).value(config, Any, "")
    return encoded


def encode_value(value: Any) -> Any:
    """One value as a file would write it."""
    return Encoder({}).value(value, Any, "")


def content_hash(config: Any) -> str:
    """SHA-256 of what would be written, 64 hexadecimal digits: equal for equal configurations, in whichever format."""
    return hash_of(encode(config))


def targets_of(config: Any) -> list[str]:
    """Everything that a file of this configuration names: targets, typed subclasses, functions and enum members, sorted. A job allows just these."""
    found: set[str] = set()
    stack: list[Any] = [encode(config)]
    while stack:
        plain = stack.pop()
        if isinstance(plain, dict):
            found.update(path for key, path in plain.items() if key in ("_target_", "_class_", "_ref_"))
            stack.extend(plain.values())
        elif isinstance(plain, list):
            stack.extend(plain)
    return sorted(found)


def hash_of(plain: Any) -> str:
    """SHA-256 of plain data in its canonical JSON form."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def _count(value: Any, counts: dict[int, int]) -> None:
    from hpcflow.launch.config.building import parts_of

    if isinstance(value, Buildable):
        counts[id(value)] = counts.get(id(value), 0) + 1
        if counts[id(value)] == 1:
            for part in effective(value).values():
                _count(part, counts)
    else:
        for _, part in parts_of(value):
            _count(part, counts)


class Encoder:
    """Configs -> plain data; values are written as their annotations read them."""

    @classmethod
    def of(cls, config: Any) -> Self:
        """For this tree: what stands in several places gets a number."""
        counts: dict[int, int] = {}
        _count(config, counts)
        return cls({key: number for number, key in enumerate((key for key, count in counts.items() if count > 1), 1)})

    def __init__(self, shared: Mapping[int, int]) -> None:
        self.shared = shared
        self.written: set[int] = set()

    def value(self, value: Any, annotation: Any, path: str) -> Any:
        if isinstance(value, Buildable):
            return self.node(value, path)
        if annotation is not Any and not holds_buildable(value):
            plain = _untagged(value)
            if plain is not UNSET and identical(from_file(plain, annotation), value):
                return plain
        if isinstance(value, list):
            return [self.value(part, Any, f"{path}[{i}]") for i, part in enumerate(value)] if type(value) is list else self.refuse(value, path)
        if type(value) is dict:
            return self.mapping(value, path)
        if type(value) in (tuple, set, frozenset):
            parts = list(value) if isinstance(value, tuple) else sorted(value, key=lambda part: (type(part).__name__, repr(part)))
            return {f"_{type(value).__name__}_": [self.value(part, Any, f"{path}[{i}]") for i, part in enumerate(parts)]}
        if isinstance(value, Secret):
            return {"_secret_": {value.kind: list(value.source) if value.kind == "command" else value.source[0]}}
        if isinstance(value, Ref):
            return {"_ref_": value.path}
        if isinstance(value, enum.Enum):
            return {"_ref_": f"{path_of(type(value))}.{value.name}"}
        scalar = scalars.encode(value)
        if scalar is not UNSET:
            return scalar
        if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
            return {"_ref_": path_of(value)}
        fields = _fields(value)
        if fields is None:
            return self.refuse(value, path)
        inner = {name: self.value(part, Any, f"{path}.{name}") for name, part in fields.items()}
        return {"_target_": path_of(type(value)), **inner}

    def refuse(self, value: Any, path: str) -> Any:
        kind = type(value)
        raise ConfigError(
            f"{path or 'the value'}: {kind.__module__}.{kind.__qualname__} cannot be written to a file; "
            f"put a Config of what makes it in its place, such as Config({kind.__name__}, ...)"
        )

    def mapping(self, value: dict[Any, Any], path: str) -> Any:
        if all(type(key) is str and not _TAG.fullmatch(key) for key in value):
            return {key: self.value(part, Any, f"{path}[{key!r}]") for key, part in value.items()}
        return {"_dict_": [[self.value(key, Any, path), self.value(part, Any, f"{path}[{key!r}]")] for key, part in value.items()]}

    def node(self, config: Any, path: str) -> dict[str, Any]:
        if id(config) in self.written and id(config) in self.shared:
            return {"_same_": self.shared[id(config)]}
        if id(config) in self.written:
            raise ConfigError(f"{path}: a Config holds itself and cannot be written")
        self.written.add(id(config))
        state = state_of(config)
        target = state.path if state.target is None else path_of(state.target)
        node: dict[str, Any] = {"_target_": target}
        if isinstance(config, Partial):
            node["_partial_"] = True
        kind_path = state.kind_path or (path_of(type(config)) if type(config) not in (Config, Partial) else "")
        if kind_path:
            node["_class_"] = kind_path
        if id(config) in self.shared:
            node["_id_"] = self.shared[id(config)]
        defaults: list[str] = []
        for name, value in effective(config).items():
            if _TAG.fullmatch(name):
                raise ConfigError(f"{path}: a parameter named {name} cannot be written to a file")
            default = _is_default(config, name, value)
            try:
                node[name] = self.value(value, annotation_of(config, name), f"{path}.{name}" if path else name)
            except ConfigError:
                if not default:
                    raise
                continue  # a default no file can hold: the code brings it again
            if default:
                defaults.append(name)
        if defaults:
            node["_defaults_"] = defaults
        return node


def _is_default(config: Any, name: str, value: Any) -> bool:
    state = state_of(config)
    if name in state.arguments and name not in state.defaulted:
        return False
    if state.target is None or not isinstance(value, Buildable | list | dict | set):
        return True
    fresh: Any = object.__new__(type(config))
    fresh.__dict__["__hpcflow__"] = State(state.target, "")
    return bool(get_argument(fresh, name) == value)


def _encode_script(script: Script) -> dict[str, Any]:
    plain = {name: getattr(script, name) for name in ("path", "inline", "module") if getattr(script, name)}
    words = {name: list(getattr(script, name)) for name in ("args", "interpreter") if getattr(script, name)}
    env = {key: encode_value(value) for key, value in script.env.items()}
    return {**plain, **words, **({"env": env} if env else {})}


def _fields(value: Any) -> dict[str, Any] | None:
    """The init fields of an instance of a dataclass, pydantic model or named tuple."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: getattr(value, name) for name in value._fields}
    if hasattr(type(value), "__pydantic_validator__") and hasattr(type(value), "model_fields"):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return None


def _untagged(value: Any) -> Any:
    """The value as a person would write it in a file; UNSET where that would not be plain data."""
    if isinstance(value, enum.Enum):
        return value.value if type(value.value) in (str, int) else UNSET
    if isinstance(value, list | tuple | collections.deque):
        parts = [_untagged(part) for part in value]
        return UNSET if any(part is UNSET for part in parts) else parts
    if isinstance(value, set | frozenset):
        parts = [_untagged(part) for part in sorted(value, key=lambda part: (type(part).__name__, repr(part)))]
        return UNSET if any(part is UNSET for part in parts) else parts
    if type(value) is dict:
        if not all(type(key) is str and not _TAG.fullmatch(key) for key in value):
            return UNSET
        inner = {key: _untagged(part) for key, part in value.items()}
        return UNSET if any(part is UNSET for part in inner.values()) else inner
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return value
    return scalars.as_text(value)


def identical(one: Any, other: Any) -> bool:
    """Equal and of the same types, all the way down; NaN is itself and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(identical(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return list(one) == list(other) and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, set | frozenset):
        return {(type(part), part) for part in one} == {(type(part), part) for part in other}
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)


class Decoder:
    """Plain data -> Configs. `source` and `lines` are for the history: which file, which line."""

    def __init__(self, source: str = "", lines: Lines | None = None, allow: tuple[str, ...] = ()) -> None:
        self.source, self.lines, self.allow = source, lines or {}, allow
        self.shared: dict[Any, Any] = {}

    def origin(self, place: tuple[Any, ...]) -> Origin:
        """Where in the file the value at this place stands."""
        return Origin("file", self.source or "text", self.lines.get(place))

    def value(self, plain: Any, place: tuple[Any, ...]) -> Any:
        """What the plain data at this place says."""
        if isinstance(plain, list):
            return [self.value(part, (*place, i)) for i, part in enumerate(plain)]
        if not isinstance(plain, dict):
            return plain
        if "_target_" in plain:
            return self.node(plain, place)
        tags = [key for key in plain if isinstance(key, str) and _TAG.fullmatch(key)]
        if not tags:
            return {key: self.value(part, (*place, key)) for key, part in plain.items()}
        if len(plain) != 1:
            raise self.error(place, f"{tags[0]} stands alone in its mapping")
        try:
            return self.tagged(tags[0], plain[tags[0]], (*place, tags[0]))
        except (TypeError, ValueError, KeyError, ArithmeticError, AttributeError) as error:
            raise self.error(place, f"{tags[0]} is not followed by what it needs ({error})") from None

    def error(self, place: tuple[Any, ...], message: str) -> ConfigError:
        """A ConfigError with file and line."""
        return ConfigError(f"{self.origin(place)}: {message}")

    def tagged(self, tag: str, plain: Any, place: tuple[Any, ...]) -> Any:
        if tag == "_same_":
            if plain not in self.shared:
                raise self.error(place, f"_same_: {plain!r} comes before the _id_ it means")
            return self.shared[plain]
        if tag == "_script_":
            return self.script(plain, place)
        if tag == "_ref_":
            self.require(plain, place, plain)
            return Ref(plain)
        if tag == "_secret_":
            return self.secret(plain, place)
        if tag == "_dict_":
            return {self.value(key, (*place, i, 0)): self.value(part, (*place, i, 1)) for i, (key, part) in enumerate(plain)}
        if tag in ("_tuple_", "_set_", "_frozenset_"):
            kinds: dict[str, Callable[[Any], Any]] = {"_tuple_": tuple, "_set_": set, "_frozenset_": frozenset}
            return kinds[tag](self.value(part, (*place, i)) for i, part in enumerate(plain))
        return scalars.decode(tag, plain)

    def require(self, path: Any, place: tuple[Any, ...], spelled: Any) -> None:
        if not isinstance(path, str):
            raise self.error(place, f"{spelled!r} is no target; write module:name")
        try:
            require_allowed(path, self.allow)
        except ConfigError as error:
            raise self.error(place, str(error)) from None

    def script(self, plain: Any, place: tuple[Any, ...]) -> Script:
        known = {field.name for field in dataclasses.fields(Script)}
        if unknown := set(plain) - known:
            raise self.error(place, f"a Script has no {sorted(unknown)[0]!r}; it has {', '.join(sorted(known))}")
        return Script(**{key: self.value(part, (*place, key)) for key, part in plain.items()})

    def secret(self, plain: Any, place: tuple[Any, ...]) -> Secret:
        makers: dict[str, Callable[[Any], Secret]] = {"variable": Secret.variable, "file": Secret.file, "command": Secret.command}
        if not isinstance(plain, dict) or len(plain) != 1 or next(iter(plain)) not in makers:
            raise self.error(place, "a secret is one of {variable: NAME}, {file: PATH}, {command: [WORDS]}")
        kind, source = next(iter(plain.items()))
        return makers[kind](source)

    def node(self, plain: dict[str, Any], place: tuple[Any, ...]) -> Any:
        target, kind_path = plain["_target_"], plain.get("_class_", "")
        for path in (target, *([kind_path] if kind_path else [])):
            self.require(path, place, path)
        config: Any = object.__new__(Partial if plain.get("_partial_") is True else Config)
        state = State(None, target, kind_path=kind_path)
        config.__dict__["__hpcflow__"] = state
        if "_id_" in plain:
            self.shared[plain["_id_"]] = config
        for name, part in plain.items():
            if not isinstance(name, str):
                raise self.error(place, f"{name!r} is no name of a parameter")
            if name in _NODE_KEYS:
                continue
            if _TAG.fullmatch(name):
                raise self.error(place, f"{name} does not belong beside _target_")
            value = self.value(part, (*place, name))
            state.arguments[name] = value
            state.raw.add(name)
            state.changes.append(Change(name, UNSET, value, self.origin((*place, name))))
        defaults = plain.get("_defaults_", [])
        if not isinstance(defaults, list):
            raise self.error(place, "_defaults_ is a list of names")
        state.defaulted = {name for name in defaults if name in state.arguments}
        return config


def settle(config: Any) -> None:
    """Check, innermost first, the Configs whose targets (and all that they name) are imported already. Imports nothing."""
    for _, node in reversed(list(nodes(config))):
        state = state_of(node)
        names = [state.path, *([state.kind_path] if state.kind_path else []), *_refs(list(state.arguments.values()))]
        if state.target is None and all(is_imported(name) for name in names):
            resolve_node(node)


def _refs(value: Any) -> list[str]:
    from hpcflow.launch.config.building import parts_of

    if isinstance(value, Ref):
        return [value.path]
    return [] if isinstance(value, Buildable) else [path for _, part in parts_of(value) for path in _refs(part)]
