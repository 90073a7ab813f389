"""A Config as a tree of text, or as a graph in the DOT language.

Invariant: pure; needs no other program. Secrets appear as references.

    print(visualize(config))
    # Partial train
    # ├─ model: Config Model
    # │  └─ hidden = 512
    # └─ lr = 0.001
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from hpcflow.errors import ConfigError
from hpcflow.launch.config.buildable import Buildable, effective, name_of, state_of
from hpcflow.launch.config.building import holds_buildable, parts_of
from hpcflow.launch.config.tree import where_set


def visualize(config: Any, *, format: Literal["text", "dot"] = "text", defaults: bool = True, origins: bool = False) -> str:
    """The whole tree.

    Args:
        config: a Config or Partial.
        format: "text", or "dot" for Graphviz.
        defaults: also parameters that have only their default.
        origins: also what set each value (text only).
    """
    state_of(config)
    if format == "dot":
        return _dot(config, defaults)
    if format != "text":
        raise ConfigError(f"visualize knows the formats 'text' and 'dot', not {format!r}")
    return "\n".join([_head(config), *_lines(config, "", defaults, origins)])


def _head(config: Any) -> str:
    return f"{type(config).__name__} {name_of(config)}"


def _items(config: Any, defaults: bool) -> list[tuple[str, Any]]:
    state = state_of(config)
    return [(n, v) for n, v in effective(config).items() if defaults or (n in state.arguments and n not in state.defaulted)]


def _lines(value: Any, indent: str, defaults: bool, origins: bool) -> Iterator[str]:
    node = isinstance(value, Buildable)
    items = _items(value, defaults) if node else [(f"[{step!r}]", part) for step, part in parts_of(value)]
    for position, (name, part) in enumerate(items):
        last = position == len(items) - 1
        note = f"   # {where_set(value, name)}" if origins and node else ""
        if isinstance(part, Buildable):
            text = f"{name}: {_head(part)}"
        elif holds_buildable(part):
            text = f"{name}: {type(part).__name__}"
        else:
            text = f"{name} = {part!r}"
        yield f"{indent}{'└─' if last else '├─'} {text}{note}"
        if holds_buildable(part):
            yield from _lines(part, indent + ("   " if last else "│  "), defaults, origins)


def _dot(config: Any, defaults: bool) -> str:
    numbers: dict[int, str] = {}
    lines: list[str] = []

    def add(node: Any) -> str:
        if id(node) in numbers:
            return numbers[id(node)]
        number = numbers[id(node)] = f"n{len(numbers)}"
        label = _head(node)
        edges: list[tuple[str, Any]] = []
        for name, value in _items(node, defaults):
            if holds_buildable(value):
                edges += [(name + suffix, inner) for suffix, inner in _inside(value)]
            else:
                label += f"\n{name} = {value!r}"
        lines.append(f"  {number} [shape=box label={json.dumps(label, ensure_ascii=False)}];")
        lines.extend(f"  {number} -> {add(inner)} [label={json.dumps(name, ensure_ascii=False)}];" for name, inner in edges)
        return number

    add(config)
    return "\n".join(["digraph config {", *lines, "}"])


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Buildable):
        yield "", value
        return
    for step, part in parts_of(value):
        for suffix, inner in _inside(part):
            yield f"[{step!r}]{suffix}", inner
