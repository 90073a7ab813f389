"""autoconvert and factories: functions that make objects make Configs of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch import Config, Partial, autoconvert, build
from hpcflow.launch.config.factories import call, factories_for, factory, find
from tests.launch.config.targets import Color, Model, Optimizer, Plain, adam, everything

BASE = 32


@autoconvert
def inner(lr: float = 0.5) -> Optimizer:
    return Optimizer(lr=lr)


@autoconvert
def outer(size: int = 2, *, many: int = 2) -> Model:
    """Doc."""
    layers = [int(math.sqrt(n * n)) for n in range(many)]
    if size < 0:
        raise ValueError("negative")
    return Model(hidden=BASE * size, optimizer=inner(lr=float("0.25")), layers=sorted(layers))


def test_calls_become_configs_and_the_rest_runs() -> None:
    assert outer() == Config(Model, 64, optimizer=Config(Optimizer, 0.25), layers=[0, 1])  # type: ignore[comparison-overlap]
    assert outer(3, many=1).hidden == 96
    assert (outer.__name__, outer.__doc__) == ("outer", "Doc.")
    assert build(outer()) == Model(64, optimizer=Optimizer(0.25), layers=[0, 1])
    with pytest.raises(ValueError, match="negative"):
        outer(-1)


def test_partials_functions_enums_and_closures_are_understood() -> None:
    size = 7

    @autoconvert
    def made() -> dict[str, object]:
        return dict(zip(["call"], [1], strict=True))  # a builtin is called

    @autoconvert
    def full() -> dict[str, object]:
        return everything(  # type: ignore[return-value]
            i=size, call=functools.partial(adam, lr=2.0), model=outer(), e=Color("red"), p=Path("a"), plain=Plain(1), anything=[adam()]
        )

    assert full() == Config(  # type: ignore[comparison-overlap]
        everything, i=7, call=Partial(adam, lr=2.0), model=outer(), e=Color.RED, p=Path("a"), plain=Config(Plain, 1), anything=[Config(adam)]
    )
    with pytest.raises(ConfigError, match="returned dict, and autoconvert wants an object made by a call"):
        made()


def test_it_makes_partials_on_demand() -> None:
    @autoconvert(partial=True)
    def task(n: int = 1) -> dict[str, object]:
        return everything(i=n)

    assert task(4) == Partial(everything, i=4)  # type: ignore[comparison-overlap]


def test_a_function_without_source_is_refused() -> None:
    namespace: dict[str, Callable[[], object]] = {}
    exec("def f(): return 1", namespace)
    for wrong in (namespace["f"], len, lambda: Model()):
        with pytest.raises(ConfigError, match="autoconvert"):
            autoconvert(wrong)


def test_an_error_in_a_converted_function_has_its_own_line() -> None:
    with pytest.raises(ValueError, match="negative") as caught:
        outer(-1)
    assert caught.traceback[-1].path == Path(__file__) and "raise ValueError" in str(caught.traceback[-1].statement)


class Nowhere:
    """What only the factories here make."""


def test_a_factory_is_found_by_name_and_result() -> None:
    @factory
    def here_a(x: int = 1) -> Nowhere:
        return Nowhere()

    @factory(name="here_b", target=Nowhere)
    def other() -> object:
        return Config(Nowhere)

    assert sorted(factories_for(Nowhere | None)) == ["here_a", "here_b"]
    assert find("here_a", Model) is None and find("here_a", object) is not None
    found = find("here_a", Nowhere)
    assert found is not None and call(found, {"x": 2}) == Config(here_a, x=2)
    with pytest.raises(ConfigError, match="expected int"):
        call(found, {"x": "2"})
    with pytest.raises(ConfigError, match="two factories are named 'here_a' and make Nowhere"):
        factory(name="here_a", target=Nowhere)(other)


def test_a_factory_must_say_what_it_makes() -> None:
    def silent():  # type: ignore[no-untyped-def]
        return 1

    with pytest.raises(ConfigError, match="needs a return annotation"):
        factory(silent)


def test_a_failing_factory_is_named() -> None:
    @factory
    def broken_one() -> Nowhere:
        raise RuntimeError("no")

    found = find("broken_one", Nowhere)
    assert found is not None
    with pytest.raises(ConfigError, match="the factory broken_one failed: RuntimeError: no"):
        call(found, {})
