"""What may be set on a Config, as a table, and what the refusal says."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch import Config, Partial, Script, UncheckedParameterWarning, build, check, clone
from tests.launch.config.targets import (
    Checked,
    Color,
    Model,
    Optimizer,
    Plain,
    Records,
    Size,
    adam,
    everything,
    partly_known,
    train,
    unannotated,
)

GOOD = [
    ("i", 3, 3), ("f", 3, 3.0), ("f", 2.5, 2.5), ("f", float("inf"), float("inf")), ("b", True, True), ("s", "3", "3"), ("o", None, None),
    ("o", 1, 1),
    ("e", Color.BLUE, Color.BLUE), ("p", Path("y"), Path("y")), ("ii", [1, 2], [1, 2]), ("pair", (1, "a"), (1, "a")), ("many", (1, 2.5), (1.0, 2.5)),
    ("kinds", {"a"}, {"a"}), ("size", Size(3, 4), Size(3, 4)), ("kind", Optimizer, Optimizer), ("bounded", 1, 1.0), ("field", 16, 16),
    ("word", "xyz", "xyz"), ("union", "3", "3"), ("union", 3, 3), ("anything", object, object), ("plain", Config(Plain, 1), Config(Plain, 1)),
    ("model", Config(Model), Config(Model)), ("model", Model(), Config(Model)), ("call", adam, adam), ("call", Partial(adam), Partial(adam)),
    ("call", Partial(Optimizer, lr=1.0), Partial(Optimizer, lr=1.0)), ("call", None, None), ("nested", {"a": [Config(adam)]}, {"a": [Config(adam)]}),
    ("nested", {"a": [Optimizer(2.0)]}, {"a": [Config(Optimizer, 2.0)]}), ("i", Config(unannotated), Config(unannotated)),
    ("f", Config(train, Config(Model), 1.0), Config(train, Config(Model), 1.0)), ("checked", Checked(0.1), Checked(0.1)),
]  # fmt: skip

BAD = [
    ("i", "3", "everything.i: expected int, got str '3'"),
    ("i", 3.0, "expected int, got float 3.0"),
    ("i", True, "expected int, got bool True"),
    ("i", None, "expected int, got None"),
    ("f", "x", "expected float, got str 'x'"),
    ("f", True, "expected float, got bool True"),
    ("b", 1, "expected bool, got int 1"),
    ("s", 3, "expected str, got int 3"),
    ("s", b"x", "expected str, got bytes"),
    ("o", "1", "expected int | None, got str '1'"),
    ("e", "red", "expected Color (RED, BLUE), got str 'red'"),
    ("p", "x", "expected Path, got str 'x'"),
    ("ii", [1, "2"], "everything.ii[1]: expected int, got str '2'"),
    ("ii", (1, 2), "expected list[int], got tuple"),
    ("pair", (1, 2), "everything.pair[1]: expected str, got int 2"),
    ("pair", (1, "a", 2), "everything.pair: "),
    ("many", (1, "a"), "everything.many[1]: expected float, got str 'a'"),
    ("kinds", ["a"], "expected set[str], got list"),
    ("size", (1, 2), "expected Size, got tuple"),
    ("kind", Model, "expected type[Optimizer], got type"),
    ("bounded", 0, "greater than 0, got int 0"),
    ("bounded", 1.5, "less than or equal to 1, got float 1.5"),
    ("field", 12, "multiple of 8, got int 12"),
    ("word", "ABC", "should match pattern '^[a-z]+$', got str 'ABC'"),
    ("word", "abcde", "at most 4 characters, got str 'abcde'"),
    ("union", 1.5, "expected int | str, got float 1.5"),
    ("model", Config(adam), "expected Model | None, got a Config of adam, which returns Optimizer"),
    ("model", Optimizer(), "expected Model | None, got a Config of Optimizer"),
    ("model", Partial(Model), "got a Partial of Model, which is a function; Config(Model, ...) is its result"),
    ("model", {"hidden": 3}, "expected Model, got dict"),
    ("model", Model(hidden="x"), "Model.hidden: expected int >= 1, got str 'x'"),
    ("checked", Config(Plain, 1), "expected Checked | None, got a Config of Plain"),
    ("call", 3, "everything.call: expected Callable[[int], Optimizer], got int 3"),
    ("call", Partial(Model), "got a Partial of Model, which returns Model"),
    ("call", Config(Optimizer), "got a Config of Optimizer, which returns Optimizer"),
    ("nested", {"a": [Config(Model)]}, "everything.nested['a'][0]: expected Optimizer, got a Config of Model, which returns Model"),
    ("nested", {"a": [Optimizer(), 3]}, "everything.nested['a'][1]: expected Optimizer, got int 3"),
    ("records", Records.model_construct(count="x"), "Records.count: expected int, got str 'x'"),
    ("plain", Model(), "expected Plain | None"),
    ("modl", 1, "everything has no parameter 'modl'; did you mean 'model'"),
]


def broken_checked() -> Checked:
    instance = Checked()
    instance.ratio = "x"  # type: ignore[assignment]
    return instance


def _id(value: object) -> str:
    """A name for a case that is the same in every process: no addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:40]


@pytest.mark.parametrize(("name", "value", "stored"), GOOD, ids=_id)
def test_a_fitting_value_is_stored(name: str, value: object, stored: object) -> None:
    config = Partial(everything)
    setattr(config, name, value)
    assert getattr(config, name) == stored
    assert type(getattr(config, name)) is type(stored)
    assert Partial(everything, **{name: value}) == config  # type: ignore[arg-type]
    check(config)


@pytest.mark.parametrize(("name", "value", "says"), [*BAD, ("checked", broken_checked(), "Checked.ratio: expected float, got str 'x'")],
                         ids=_id)  # fmt: skip
def test_a_wrong_value_is_refused_when_it_is_set(name: str, value: object, says: str) -> None:
    config = Partial(everything)
    before = clone(config)
    with pytest.raises(ConfigError, match=re.escape(says)):
        setattr(config, name, value)
    assert config == before
    with pytest.raises(ConfigError, match=re.escape(says)):
        Partial(everything, **{name: value})  # type: ignore[arg-type]


def test_a_nested_assignment_is_checked_at_once_at_any_depth() -> None:
    config = Partial(train, Config(Model), 1.0)
    for wrong in ("x", True, None):
        with pytest.raises(ConfigError, match=r"Optimizer\.lr: expected float"):
            config.model.optimizer.lr = wrong
    config.model.optimizer.lr = 2
    assert build(config.model).optimizer.lr == 2.0


def test_the_default_of_a_factory_belongs_to_one_config() -> None:
    one, other = Partial(everything, model=Config(Model)), Partial(everything, model=Config(Model))
    one.model.layers.append(3)
    one.model.optimizer.lr = 5.0
    assert other.model.layers == [] and other.model.optimizer.lr == 1e-3
    assert Model().layers == []


def test_what_was_put_into_a_container_later_is_found_before_build() -> None:
    config = Partial(everything, nested={"a": []}, ii=[1])
    config.nested["a"].append("x")
    config.ii.append("y")
    with pytest.raises(ConfigError, match=r"(?s)2 problems:.*everything\.nested\['a'\]\[0\]: expected Optimizer.*everything\.ii\[1\]: expected int"):
        build(config)


def test_an_annotation_that_cannot_be_resolved_is_reported_and_the_others_are_checked() -> None:
    with pytest.warns(UncheckedParameterWarning, match=r"partly_known\.unknown takes any value.*Unknown"):
        config = Partial(partly_known, unknown=object())
    with pytest.raises(ConfigError, match="expected int"):
        config.known = "x"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Partial(partly_known)  # said once


def test_an_unset_parameter_is_reported_with_its_place() -> None:
    config = Partial(everything, plain=Config(Plain))  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"plain: Plain\.x is not set and has no default"):
        build(config)
    with pytest.raises(AttributeError, match=r"Plain\.x is not set"):
        _ = config.plain.x


def test_what_is_no_target_is_refused() -> None:
    for wrong in (3, "x", Config(Model)):
        with pytest.raises(ConfigError):
            Config(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="takes 2 positional"):
        Partial(train, Config(Model), 1.0, 3)  # type: ignore[misc]
    with pytest.raises(ConfigError, match="given twice"):
        Partial(train, Config(Model), 1.0, lr=2.0)  # type: ignore[misc]


def test_a_script_is_one_of_path_inline_and_module() -> None:
    assert Script("a.py", args=["x"]).argv("py") == ("py", "a.py", "x")
    assert Script(inline="echo $1", args=["x"]).argv() == ("/bin/sh", "-c", "echo $1", "/bin/sh", "x")
    assert Script(module="m.n", args=["x"]).argv("py") == ("py", "-m", "m.n", "x")
    for wrong in ({}, {"path": "a", "inline": "b"}, {"path": "a", "args": "x"}, {"path": "a", "args": [3]}, {"path": "a", "env": {"X": 3}},
                  {"path": "a\0b"}, {"path": "a", "env": {"X=Y": ""}}):  # fmt: skip
        with pytest.raises(ConfigError):
            Script(**wrong)  # type: ignore[arg-type]


def test_a_script_file_is_started_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("#!/usr/bin/env bash\n")
    assert Script(tmp_path / "a.sh").argv() == ("/usr/bin/env", "bash", str(tmp_path / "a.sh"))
    (tmp_path / "long.sh").write_text(f"#!/bin/sh -e\n{'#' * 600}\n")
    assert Script(tmp_path / "long.sh").argv()[:2] == ("/bin/sh", "-e")
    assert Script("nothere.sh").argv() == ("/bin/sh", "nothere.sh")


def test_a_compiled_program_starts_by_itself() -> None:
    assert Script(sys.executable, args=["-V"]).argv() == (sys.executable, "-V")


def test_a_name_that_is_defined_later_is_resolved_then() -> None:
    namespace: dict[str, Any] = {"__name__": "later_module"}
    exec("def f(x: Later = None): return x", namespace)
    with pytest.warns(UncheckedParameterWarning):
        Config(namespace["f"], x=3)
    namespace["Later"] = str
    with pytest.raises(ConfigError, match="expected str, got int 3"):
        Config(namespace["f"], x=3)


def test_equal_literals_of_two_types_are_two_literals() -> None:
    def one(x: Literal[1] = 1) -> None: ...

    def true(x: Literal[True] = True) -> None: ...

    for target, right, wrong in ((one, 1, True), (true, True, 1)):
        assert Config(target, x=right).x is right  # type: ignore[func-returns-value, attr-defined]
        with pytest.raises(ConfigError, match="expected one of"):
            Config(target, x=wrong)


def test_pydantic_models_are_targets_and_instances() -> None:
    config = Config(Records, count=2)
    assert build(config) == Records(count=2)
    with pytest.raises(ConfigError, match="expected int, got str"):
        config.count = "3"  # type: ignore[assignment]
    assert Partial(everything, records=Records(count=4))()["records"] == Records(count=4)


def test_arrays_compare_without_trouble() -> None:
    array = pytest.importorskip("numpy").arange(3)
    config = Partial(everything, anything=array)
    assert config == clone(config) and build(config)()["anything"] is array


def test_without_pydantic_nothing_is_taken_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(x: int = 1) -> int:
        return x

    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ConfigError, match="a Config needs pydantic: pip install"):
        Config(plain, "x")  # type: ignore[arg-type]
