"""Configurations made at random survive files; files made at random and in bad faith run nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import ConfigError
from hpcflow.launch import Config, Partial, Script, Secret, build, content_hash, diff, dumps, loads
from hpcflow.launch.config.buildable import Buildable, target_of
from hpcflow.launch.config.tree import walk
from tests.launch.config import targets
from tests.launch.config.targets import Checked, Color, Model, Optimizer, Plain, Size, adam, everything, train
from tests.launch.config.test_files import VALUES, _same
from tests.thorough import thorough

HERE = "tests.launch.config.targets"
FORMATS = st.sampled_from(["yaml", "json", "toml"])
FINITE = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)


def configs(target: Any, **parameters: Any) -> st.SearchStrategy[Any]:
    """A Config of some of the parameters."""
    return st.fixed_dictionaries({}, optional=parameters).map(lambda given: Config(target, **given))


OPTIMIZERS = configs(Optimizer, lr=FINITE, betas=st.tuples(FINITE, FINITE), name=TEXTS) | st.builds(lambda lr: Config(adam, lr), FINITE)
MODELS = configs(
    Model, hidden=st.integers(1), activation=st.sampled_from(["relu", "gelu"]), optimizer=OPTIMIZERS, layers=st.lists(st.integers(), max_size=3)
)
EVERYTHING = st.fixed_dictionaries(
    {},
    optional={
        "i": st.integers(), "f": st.floats(), "b": st.booleans(), "s": TEXTS, "o": st.none() | st.integers(), "e": st.sampled_from(Color),
        "p": TEXTS.filter(lambda text: "\0" not in text).map(Path), "ii": st.lists(st.integers(), max_size=3),
        "nested": st.none() | st.dictionaries(TEXTS, st.lists(OPTIMIZERS, max_size=2), max_size=2), "pair": st.tuples(st.integers(), TEXTS),
        "many": st.lists(FINITE, max_size=3).map(tuple), "kinds": st.sets(TEXTS, max_size=3), "size": st.builds(Size, st.integers(), st.integers()),
        "call": st.none() | st.just(Partial(adam)), "kind": st.just(Optimizer), "model": st.none() | MODELS, "bounded": st.floats(0.01, 1),
        "field": st.integers(0, 99).map(lambda n: n * 8), "word": st.from_regex(r"[a-z]{1,4}", fullmatch=True), "union": st.integers() | TEXTS,
        "anything": VALUES,
        "plain": st.none() | st.builds(lambda x, rest, tag: Config(Plain, x, *rest, tag=tag), st.integers(), st.lists(st.integers()), TEXTS),
        "checked": st.none() | configs(Checked, ratio=FINITE),
    },
)  # fmt: skip
SECRETS = st.builds(Secret.variable, st.from_regex(r"[A-Z_]{1,6}", fullmatch=True)) | st.builds(Secret.file, TEXTS.filter(bool))
WORDS = st.lists(TEXTS.filter(lambda text: "\0" not in text), max_size=3)
SCRIPTS = st.builds(
    lambda what, text, words, env: Script(**{what: text}, args=words, env=env),
    st.sampled_from(["path", "inline", "module"]), TEXTS.filter(lambda text: text and "\0" not in text), WORDS,
    st.dictionaries(st.from_regex(r"[A-Z_]{1,6}", fullmatch=True), SECRETS | TEXTS.filter(lambda text: "\0" not in text), max_size=2),
)  # fmt: skip


@given(given_=EVERYTHING, format=FORMATS)
def test_any_configuration_comes_back_from_a_file_without_loss(given_: dict[str, Any], format: Any) -> None:
    config = Partial(everything, **given_)
    text = dumps(config, format)
    loaded = loads(text, format, allow=[HERE])
    assert dumps(loaded, format) == text and content_hash(loaded) == content_hash(config)
    assert all(
        _same(getattr(loaded, name), getattr(config, name)) for name in given_ if name not in ("call", "kind", "nested", "model", "plain", "checked")
    )
    assert not diff(config, loaded) or "anything" in given_  # NaN is no NaN for a difference


@given(model=MODELS, lr=FINITE, formats=st.lists(FORMATS, min_size=1, max_size=4))
def test_a_tree_goes_through_any_formats_one_after_the_other(model: Any, lr: float, formats: list[Any]) -> None:
    config = loaded = Partial(train, model, lr)
    for format in formats:
        loaded = loads(dumps(loaded, format), format, allow=[HERE])
    assert loaded == config and not diff(config, loaded) and content_hash(loaded) == content_hash(config)


@given(script=SCRIPTS, format=FORMATS)
def test_any_script_comes_back_with_its_secrets_as_references(script: Script, format: Any) -> None:
    assert loads(dumps(script, format), format) == script


# -- in bad faith -----------------------------------------------------------------------------------------------------

EVENTS = ("import", "exec", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "os.fork", "os.remove")
_watching: list[list[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in (
        "import",
        "exec",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "subprocess.Popen",
        "socket.connect",
        "os.fork",
        "os.remove",
    ):
        _watching[-1].append(f"{event} {arguments[0]!r}"[:200])


@pytest.fixture(scope="module")
def watched() -> Iterator[list[str]]:
    """What happens inside `with watched`: imports, programs, evaluated code."""
    sys.addaudithook(_hook)  # stays for the life of the process, and looks only while something is watched
    yield []
    _watching.clear()


NAMES = st.sampled_from(
    ["os", "sys", "subprocess", "builtins", "posix", "importlib", "pathlib", "pickle", HERE, HERE + ".evil", "tests", "hpcflow.launch",
     "this", "antigravity",
     "", "..", "a b", "__main__", "os.path", "collections.abc"]
)  # fmt: skip
ATTRIBUTES = st.sampled_from(
    ["system", "Popen", "eval", "exec", "__import__", "import_module", "Path", "loads", "os.system", "Model", "Model.__init__",
     "Model.__init__.__globals__",
     "everything", "everything.__globals__", "everything.__code__", "Plain.method", "adam", "Color.RED", "Optimizer",
     "__builtins__", "", "eval(1)", "x y",
     "__dict__", "Path.unlink", "getattr", "type", "object.__subclasses__"]
)  # fmt: skip
TARGETS = st.builds("{}:{}".format, NAMES, ATTRIBUTES) | TEXTS | st.integers() | st.lists(TEXTS, max_size=2) | st.none()
HOSTILE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | TEXTS | st.builds(lambda target: {"_ref_": target}, TARGETS),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["_target_", "_partial_", "_class_", "_id_", "_same_", "_defaults_", "_tuple_", "_dict_",
                                       "_script_", "_secret_",
                                       "_bytes_", "_path_", "_float_", "_range_", "command", "args", "x", "*", "anything",
                                       "shell"]), inner, max_size=3)
    | st.builds(lambda target, rest: {"_target_": target, **(rest if isinstance(rest, dict) else {"anything": rest})}, TARGETS, inner),
    max_leaves=8,
)  # fmt: skip


@given(document=HOSTILE, target=TARGETS)
def test_reading_any_file_imports_and_runs_nothing_and_ends_in_one_line_or_a_config(watched: list[str], document: Any, target: Any) -> None:
    text = json.dumps({"_target_": target, "anything": document} if not isinstance(document, dict) else document)
    _read(text)  # what we ourselves import at first use
    _watching.append(seen := [])
    try:
        found = _read(text)
    finally:
        _watching.pop()
    assert seen == []
    if found is None:
        return
    try:
        build(found)
    except ConfigError:
        return
    except Exception as error:  # a target's own
        assert isinstance(error, TypeError | ValueError | AttributeError), error
    for _, node in _nodes(found):
        assert _is_ours(target_of(node)), node


def _read(text: str) -> Any:
    try:
        return loads(text, "json", allow=[HERE])
    except ConfigError as refused:
        assert "\n" not in str(refused)
        return None


def _nodes(config: Any) -> list[tuple[str, Any]]:
    from hpcflow.launch.config.tree import nodes

    assert callable(walk)
    return list(nodes(config)) if isinstance(config, Buildable) else []


def _is_ours(target: Any) -> bool:
    """Defined in the allowed module, or one of Python's own plain types."""
    return target is None or target.__module__ == targets.__name__ or (target.__module__ == "builtins" and isinstance(target, type))


TOO_MUCH = {
    "json": ["[" * 3000, '{"a":' * 300 + "1" + "}" * 300, '{"a": ' + "9" * 9000 + "}", "\0", "\ufeff"],
    "yaml": ["a: " + "[" * 400 + "]" * 400, "a: " + "9" * 9000, "a: &a [*a, *a]", "\0", "\ufeff"],
    "toml": ["a = " + "[" * 2000 + "]" * 2000, "a = " + "9" * 9000, "\0", "\ufeff"],
}
ALIKE = [(text, format) for format in TOO_MUCH for text in TOO_MUCH[format]]
OTHERWISE = [(text, format) for format in TOO_MUCH for texts in TOO_MUCH.values() for text in [*texts, "{" * 3000] if text not in TOO_MUCH[format]]


@pytest.mark.parametrize(("text", "format"), [*ALIKE, *(thorough(*case) for case in OTHERWISE)], ids=lambda value: ascii(value[:8]))
def test_a_file_that_is_too_deep_or_no_text_is_refused_in_one_line(text: str, format: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        loads(text, format, allow=[HERE])
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000


def test_the_hook_sees_what_it_looks_for(watched: list[str]) -> None:
    _watching.append(seen := [])
    try:
        os.system("true")
        exec("import colorsys")
    finally:
        _watching.pop()
    assert [line.split()[0] for line in seen][:2] == ["os.system", "exec"]
