"""Applies overrides to a Config: paths walked, operators done, files read, sweeps spread out.

Invariant: an override that fails changes nothing; one that succeeds leaves new Config objects in the tree. Each value is checked by its annotation
and remembered with the word or the file's line that set it.

    override(config, "model.lr=1e-3", "tags+=x", "~limit")
    for words, one in sweep(config, ["lr=1e-3,1e-4", "seed=1,2"]): ...      # four
"""

from __future__ import annotations

import itertools
import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from hpcflow.errors import ConfigError
from hpcflow.launch.config.buildable import (
    Buildable,
    Config,
    annotation_of,
    get_argument,
    make,
    name_of,
    parameters_of,
    reset,
    set_argument,
    spelled_target,
    state_of,
)
from hpcflow.launch.config.convert import from_file, is_mapping_type, item_annotations
from hpcflow.launch.config.document import Decoder
from hpcflow.launch.config.files import read_section
from hpcflow.launch.config.grammar import Bare, FileRef, Items, Override, Pairs, Quoted, Value, cut, parse, parse_value
from hpcflow.launch.config.origin import Origin, within
from hpcflow.launch.config.stands import members
from hpcflow.launch.config.target import UNSET
from hpcflow.launch.config.text import configurable, from_text
from hpcflow.launch.config.tree import clone

T = TypeVar("T")
Steps = tuple[str | int, ...]


def override(config: Any, *words: str) -> None:
    """Apply overrides in their order; see docs/launch_configuration.md for the grammar. A sweep is refused here.

    Raises:
        ConfigError: a word is no override, a path is not there, a value does not fit. The Config is then as it was.
    """
    parsed = [parse(word) for word in words]
    for one in parsed:
        if len(one.values) > 1:
            raise ConfigError(
                f"{cut(one.raw)} is a sweep of {len(one.values)} values, and one is wanted; put text that holds a comma in quotes, a list in []"
            )
    draft = clone(config)
    for one in parsed:
        apply(draft, one)
    state, changed = state_of(config), state_of(draft)
    state.__dict__.update(changed.__dict__)


def sweep(config: T, words: Iterable[str]) -> Iterator[tuple[tuple[str, ...], T]]:
    """(words, Config) for every combination of the values of the sweeps in `words`, the last one changing fastest. `config` stays as it is."""
    choices: list[list[str]] = []
    for word in words:
        one = parse(word)
        if len(one.values) > 1:
            choices.append([one.head + value.raw for value in one.values])
        else:
            choices.append([word])
    for chosen in itertools.product(*choices):
        copy = clone(config)
        override(copy, *chosen)
        yield tuple(word for word, options in zip(chosen, choices, strict=True) if len(options) > 1), copy


def override_from_environment(config: Any, prefix: str, environ: Mapping[str, str] | None = None) -> None:
    """Set what variables say: with the prefix `TRAIN_`, TRAIN_LR is `lr` and TRAIN_MODEL__HIDDEN is `model.hidden`. Empty ones count as not set.

    Raises:
        ConfigError: that names the variable. The Config is then as it was.
    """
    draft = clone(config)
    for name, text in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(prefix) and text:
            path = tuple(name.removeprefix(prefix).lower().split("__"))
            apply(draft, Override(name, name, path, "=", (parse_value(text, f"{name}={text}"),)), Origin("variable", name))
    state_of(config).__dict__.update(state_of(draft).__dict__)


def apply(config: Any, one: Override, origin: Origin | None = None) -> None:
    """Apply one parsed override, without a sweep. origin: what the history says; default: the word, as a flag."""
    with within(origin or Origin("flag", one.raw)):
        if one.operator == "@":
            (file,) = one.values
            assert isinstance(file, FileRef)
            update(config, file.path, section=file.section)
            return
        try:
            node, name, inner = _locate(config, one)
            if not inner and one.operator == "~":
                reset(node, name)
                return
            annotation = annotation_of(node, name)
            if not inner:
                _set(node, name, one, annotation)
                return
            container = _replaced(get_argument(node, name), inner, annotation, one, f"{name_of(node)}.{name}")
            set_argument(node, name, container)
        except ConfigError as error:
            said = cut(one.raw) if origin is None else str(origin)
            known = one.raw in str(error) or cut(one.raw) in str(error)
            raise ConfigError(str(error) if known else f"{said}: {error}") from None


def _locate(config: Any, one: Override) -> tuple[Any, str, Steps]:
    """The innermost Config on the path, the parameter of it, and the steps into the container that is there."""
    node, steps = config, list(one.path)
    while True:
        name = steps.pop(0)
        if not isinstance(name, str):
            raise ConfigError(f"{cut(one.raw)}: {name_of(node)} is no list")
        annotation_of(node, name)  # raises for what is no parameter
        if not steps:
            return node, name, ()
        value: Any = _value_or_new(node, name, steps)
        taken = 0
        while not isinstance(value, Buildable) and taken < len(steps):
            try:
                value = value[steps[taken]]
            except (LookupError, TypeError):
                return node, name, tuple(steps)
            taken += 1
        if not isinstance(value, Buildable) or taken == len(steps):
            return node, name, tuple(steps)
        node, steps = value, steps[taken:]


def _value_or_new(node: Any, name: str, steps: list[Any]) -> Any:
    """The value of a parameter; where there is none (or None) and the annotation is one class, a new Config of it."""
    parameters, _ = parameters_of(node)
    state = state_of(node)
    value = get_argument(node, name) if name in state.arguments or (name in parameters and not parameters[name].required) else None
    target = configurable(annotation_of(node, name)) if value is None and isinstance(steps[0], str) else None
    if target is not None:
        set_argument(node, name, make(Config, target))
        return get_argument(node, name)
    if value is None:
        raise ConfigError(f"{name_of(node)}.{name} is not set, and what {'.'.join(map(str, steps))} is in it cannot be known")
    return value


def _set(node: Any, name: str, one: Override, annotation: Any) -> None:
    where = f"{name_of(node)}.{name}"
    (value,) = one.values
    if one.operator == "=":
        if isinstance(value, FileRef):
            _set_from_file(node, name, value, annotation)
        else:
            set_argument(node, name, from_text(value, annotation, where))
        return
    set_argument(node, name, _operated(get_argument(node, name), one.operator, value, annotation, where))


def _replaced(container: Any, steps: Steps, annotation: Any, one: Override, where: str) -> Any:
    """A copy of a list, tuple or dict with the change made in it."""
    step, rest = steps[0], steps[1:]
    place = f"{where}[{step!r}]"
    if isinstance(container, dict):
        keys, inner = _mapping_annotations(annotation)
        key = step if step in container else from_text(Bare(str(step)), keys, where)
        if key not in container and (rest or one.operator != "="):
            raise ConfigError(f"{place}: the key is not there; there are {', '.join(map(repr, container)) or 'none'}")
        copy: Any = dict(container)
    elif isinstance(container, list | tuple):
        if not isinstance(step, int):
            raise ConfigError(f"{where} is a {type(container).__name__}, and {step!r} is no index")
        if not -len(container) <= step < len(container):
            raise ConfigError(f"{place}: there are {len(container)} items")
        copy, key = list(container), step
        inner = item_annotations(_member(annotation, type(container)), len(container))[step]
    else:
        raise ConfigError(f"{where} is {type(container).__name__} and has nothing at {step!r}")
    if rest:
        copy[key] = _replaced(copy[key], rest, inner, one, place)
    elif one.operator == "~":
        del copy[key]
    elif one.operator == "=":
        copy[key] = from_text(one.values[0], inner, place)
    else:
        copy[key] = _operated(copy[key], one.operator, one.values[0], inner, place)
    if isinstance(container, tuple):
        return type(container)(*copy) if hasattr(container, "_fields") else tuple(copy)
    return copy


def _mapping_annotations(annotation: Any) -> tuple[Any, Any]:
    arguments = typing.get_args(next((member for member in members(annotation) if is_mapping_type(member)), Any))
    return (arguments[0], arguments[1]) if len(arguments) == 2 else (Any, Any)


def _member(annotation: Any, kind: type) -> Any:
    """The member of a union that a container of this kind is."""
    return next((member for member in members(annotation) if issubclass(kind, _class_of(member))), Any)


def _class_of(annotation: Any) -> type:
    kind = typing.get_origin(annotation) or annotation
    return kind if isinstance(kind, type) and kind is not object else type(UNSET)


def _operated(old: Any, operator: str, node: Value, annotation: Any, where: str) -> Any:
    """`+=` and `-=`: numbers are added, text is appended; a list, set or dict takes in or loses a value, or those of a list."""
    adding = operator == "+="
    if isinstance(old, bool) or not isinstance(old, int | float | str | list | tuple | set | frozenset | dict):
        raise ConfigError(f"{where} is {type(old).__name__}; += and -= are for numbers, text, lists, sets and mappings")
    if isinstance(old, int | float):
        change = from_text(node, float if isinstance(old, float) else annotation, where)
        if isinstance(change, bool) or not isinstance(change, int | float):
            raise ConfigError(f"{where}: a number is added to a number, not {cut(node.raw)}")
        return old + change if adding else old - change
    if isinstance(old, str):
        if not adding:
            raise ConfigError(f"{where}: -= takes nothing out of text")
        return old + (node.text if isinstance(node, Quoted) else node.raw)
    if isinstance(old, dict):
        return _dict_operated(old, adding, node, annotation, where)
    inner = item_annotations(_member(annotation, type(old)), 1)[0]
    nodes = node.items if isinstance(node, Items) and not isinstance(_try_text(node, inner, where), list | tuple) else (node,)
    values = [from_text(item, inner, where) for item in nodes]
    if adding:
        return type(old)([*old, *values])
    kept = list(old)
    for value in values:
        if value not in kept:
            raise ConfigError(f"{where}: {value!r} is not in it")
        kept.remove(value)
    return type(old)(kept)


def _try_text(node: Value, annotation: Any, where: str) -> Any:
    if annotation is Any:
        return UNSET
    try:
        return from_text(node, annotation, where)
    except ConfigError:
        return UNSET


def _dict_operated(old: dict[Any, Any], adding: bool, node: Value, annotation: Any, where: str) -> dict[Any, Any]:
    if adding:
        if not isinstance(node, Pairs):
            raise ConfigError(f"{where}: += takes {{key: value}} for a mapping")
        keys, values = _mapping_annotations(annotation)
        return old | {from_text(key, keys, where): from_text(value, values, where) for key, value in node.pairs}
    key = from_text(node, _mapping_annotations(annotation)[0], where)
    if key not in old:
        raise ConfigError(f"{where}: the key {key!r} is not there; there are {', '.join(map(repr, old))}")
    return {name: value for name, value in old.items() if name != key}


def _set_from_file(node: Any, name: str, file: FileRef, annotation: Any) -> None:
    data, place, lines = read_section(file.path, file.section)
    decoder = Decoder(file.path, lines)
    with within(decoder.origin(place)):
        if isinstance(data, Mapping) and "_target_" not in data and configurable(annotation) is not None:
            state = state_of(node)
            current = state.arguments.get(name)
            fresh = clone(current) if isinstance(current, Buildable) else make(Config, configurable(annotation))
            _update(fresh, data, place, decoder)
            set_argument(node, name, fresh)
        else:
            set_argument(node, name, _decoded(decoder, data, place, annotation))


def value_of_file(file: FileRef, annotation: Any) -> Any:
    """What `@file:section` says, where it is not a whole parameter: in a list, in the arguments of a factory."""
    data, place, lines = read_section(file.path, file.section)
    decoder = Decoder(file.path, lines)
    target = configurable(annotation)
    if isinstance(data, Mapping) and "_target_" not in data and target is not None:
        fresh = make(Config, target)
        _update(fresh, data, place, decoder)
        return fresh
    return _decoded(decoder, data, place, annotation)


def _decoded(decoder: Decoder, data: Any, place: tuple[Any, ...], annotation: Any) -> Any:
    from hpcflow.launch.config.document import settle

    value = decoder.value(data, place)
    if isinstance(value, Buildable):
        settle(value)
    return from_file(value, annotation)


def update(config: Any, path: str, *, section: str = "") -> None:
    """Set what a file (or a section of it) says on a Config. The file may be complete, or name values alone.

    Raises:
        ConfigError: with file and line; for a complete file of another target.
    """
    data, place, lines = read_section(path, section)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}: expected a mapping of parameters, got {type(data).__name__}")
    _update(config, data, place, Decoder(path, lines))


def _update(config: Any, data: Mapping[Any, Any], place: tuple[Any, ...], decoder: Decoder) -> None:
    if "_target_" in data and data["_target_"] != spelled_target(config):  # a file is for one function
        raise decoder.error(place, f"it is a configuration of {data['_target_']}, not of {spelled_target(config)}")
    skipped = {"_target_", "_partial_", "_class_", "_defaults_", "_id_", *(data.get("_defaults_") or [])}
    for name, part in data.items():
        if name in skipped:
            continue
        inner = (*place, name)
        with within(decoder.origin(inner)):
            if not isinstance(name, str):
                raise decoder.error(inner, f"{name!r} is no name of a parameter")
            annotation = annotation_of_or_error(config, name, decoder, inner)
            nested = isinstance(part, Mapping) and not any(str(key).startswith("_") and str(key).endswith("_") for key in part)
            if nested and _nested_config(config, name, annotation) is not None:
                _update(_nested_config(config, name, annotation), part, inner, decoder)
            else:
                set_argument(config, name, _decoded(decoder, part, inner, annotation))


def annotation_of_or_error(config: Any, name: str, decoder: Decoder, place: tuple[Any, ...]) -> Any:
    """The annotation of a parameter, or a ConfigError with file and line."""
    try:
        return annotation_of(config, name)
    except ConfigError as error:
        raise decoder.error(place, str(error)) from None


def _nested_config(config: Any, name: str, annotation: Any) -> Any:
    """The Config at a parameter, a new one where the annotation is one class; None where a mapping is a mapping."""
    parameters, _ = parameters_of(config)
    present = name in state_of(config).arguments or (name in parameters and not parameters[name].required)
    value = get_argument(config, name) if present else None
    if isinstance(value, Buildable):
        return value
    if value is None and configurable(annotation) is not None:
        set_argument(config, name, make(Config, configurable(annotation)))
        return get_argument(config, name)
    return None
