"""Overrides made at random: each does what Python's own assignment does, or is refused in one line and changes nothing."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import ConfigError
from hpcflow.launch import Config, Partial, clone, override, sweep
from hpcflow.launch.config.document import identical
from hpcflow.launch.config.grammar import parse, parse_path, parse_value, quote, spell
from tests.launch.config.targets import Model, Optimizer, everything, unannotated
from tests.launch.config.test_overrides import TEXT, WRITABLE, big, started

assert big is not None  # registers the factory

KEYS = TEXT | st.sampled_from(["a", "a.b", "0", "-1", "]", '"', "'", "\\", "_target_"])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(
    ["i", "s", "ii", "anything", "nested", "model", "plain", "call", "size", "kinds", ".", "=", "+=", "-=", "~", "@", "[", "]", "{", "}",
     "(", ")", ",", ":", "0", "-1", "1", "1e-3", "'", '"', "\\", "\\u", "k", "l.m", "hidden", "optimizer", "lr", "big", "big(size=",
     "fast", "null", "true", " ", "\n", "\0",
     "é", "9" * 30, "[0]", "['k']", "c.yaml", "..", "__class__", "_id_"]
)  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every part of a tree of dicts and lists."""
    found = [path] if path else []
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return found + [inner for key, part in parts for inner in places(part, (*path, key))]


def spelled_path(path: tuple[Any, ...]) -> str:
    """`x[0]["a.b"]`."""
    return "x" + "".join(f"[{step}]" if isinstance(step, int) else f"[{quote(step)}]" for step in path)


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


@given(tree=TREES.filter(lambda tree: isinstance(tree, dict | list) and bool(tree)), value=WRITABLE, data=st.data())
def test_setting_adding_and_erasing_at_any_place_is_what_python_does(tree: Any, value: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(tree)))
    wanted, old = copy.deepcopy(tree), at(tree, path)
    operator = data.draw(st.sampled_from(["=", "~", *(["+="] if isinstance(old, list) else [])]))
    config = Partial(unannotated, x=copy.deepcopy(tree))
    if operator == "=":
        at(wanted, path[:-1])[path[-1]] = value
        override(config, f"{spelled_path(path)}={spell(value)}")
    elif operator == "~":
        del at(wanted, path[:-1])[path[-1]]
        override(config, f"~{spelled_path(path)}")
    else:
        at(wanted, path).extend([value])
        override(config, f"{spelled_path(path)}+=[{spell(value)}]")
    assert identical(config.x, wanted)


@given(old=st.integers() | st.floats(-1e9, 1e9), change=st.integers(0, 10**6))
def test_adding_and_taking_away_numbers_is_what_python_does(old: Any, change: int) -> None:
    for operator, wanted in (("+=", old + change), ("-=", old - change)):
        config = Partial(unannotated, x=old)
        override(config, f"x{operator}{change}")
        assert identical(config.x, wanted)


@given(values=st.lists(WRITABLE, min_size=2, max_size=4), others=st.lists(st.integers(), min_size=2, max_size=3))
def test_a_sweep_of_any_values_is_the_product_of_them(values: list[Any], others: list[int]) -> None:
    config = Partial(everything)
    words = [f"anything={','.join(map(spell, values))}", f"i={','.join(map(str, others))}"]
    found = [(one.anything, one.i) for _, one in sweep(config, words)]
    assert identical(found, [(value, other) for value in values for other in others])


@given(path=st.lists(KEYS | st.integers(-5, 5), max_size=4).map(tuple))
def test_any_path_that_is_spelled_is_read_back(path: tuple[Any, ...]) -> None:
    assert parse_path(spelled_path(path)) == ("x", *path)
    found = parse(f"{spelled_path(path)}=1")
    assert (found.path, found.operator, len(found.values)) == (("x", *path), "=", 1)


@given(size=st.integers(1, 10**9), rate=st.floats(allow_nan=False, allow_infinity=False))
def test_a_factory_is_called_with_what_its_words_say(size: int, rate: float) -> None:
    config = Partial(everything)
    override(config, f"model=big(size={size}, lr={rate!r})")
    assert config.model == Config(Model, hidden=size, optimizer=Config(Optimizer, lr=rate))


@given(
    tree=TREES.filter(lambda tree: isinstance(tree, dict) and bool(tree)), name=st.sampled_from(["c.json", "my c.json", "c:d.json", "it's, [a].json"])
)
def test_a_file_and_a_section_of_it_hold_what_was_written(tree: dict[str, Any], name: str) -> None:
    config = Partial(unannotated)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(json.dumps({"top": {"inner": tree}, "x": 1}))
        try:
            override(config, f"x=@{quote(str(path))}:top.inner")
        except ConfigError as refused:  # what looks like a tag of our own files
            assert re.search(r'"_[a-z]+_"', json.dumps(tree)) and "\n" not in str(refused)
            return
    assert identical(config.x, tree)


@given(words=st.lists(st.lists(PIECES, min_size=1, max_size=8).map("".join), min_size=1, max_size=3))
def test_any_words_are_done_or_refused_in_one_line_and_then_nothing_is_changed(words: list[str]) -> None:
    config = started()
    before = clone(config)
    try:
        override(config, *words)
    except ConfigError as refused:
        assert "\n" not in str(refused) and str(refused)
        assert config == before


@given(
    text=TEXT | st.lists(PIECES, max_size=8).map("".join),
    name=st.sampled_from(["i", "f", "b", "s", "e", "p", "ii", "nested", "pair", "size", "model"]),
)
def test_any_text_for_any_type_is_taken_or_refused_in_one_line(text: str, name: str) -> None:
    config = started()
    try:
        override(config, f"{name}={text}")
    except ConfigError as refused:
        assert "\n" not in str(refused)


@pytest.mark.parametrize(
    "word",
    [
        "anything=" + "[" * 5000 + "]" * 5000,
        "anything=" + "{a: " * 3000 + "}" * 3000,
        "anything=" + "f(x=" * 3000 + ")" * 3000,
        "anything" + "[0]" * 5000 + "=1",
        "i=" + "9" * 5000,
        "anything=" + "9" * 5000,
        "anything=" + "1_" * 5000 + "1",
        "anything=@\0.yaml",
        "anything=@.",
        "anything=@" + "a" * 5000 + ".yaml",
        "p=\0",
        "i=0x",
        "s=" + "\ud800",
        "anything=\ud800",
    ],
    ids=lambda word: ascii(word[:16]),
)
def test_what_is_too_deep_too_long_or_no_text_is_no_crash(word: str) -> None:
    config = started()
    try:
        override(config, word)
    except ConfigError as refused:
        assert "\n" not in str(refused) and len(str(refused)) < 1000


def test_a_value_alone_is_read_as_in_an_override() -> None:
    assert parse_value("[1, 'a,b']") == parse("x=[1, 'a,b']").values[0]
