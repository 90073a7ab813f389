"""Building, copies, walks, differences, pictures, typed subclasses."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import sys
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Le

from hpcflow.errors import ConfigError
from hpcflow.launch import Config, Partial, Secret, broadcast, build, clone, diff, history, targets_of, visualize, walk, where_set
from tests.launch.config.targets import (
    Model,
    Optimizer,
    Plain,
    adam,
    anywords,
    connect,
    everything,
    failing,
    positional,
    train,
    unannotated,
    wrong_kind,
)
from tests.launch.config.targets import diff as diff_target


def tree() -> Partial[float]:
    return Partial(train, Config(Model, hidden=8, optimizer=Config(adam, lr=0.5)), 2.0, steps=3)


def test_build_calls_the_leaves_first() -> None:
    task = build(tree())
    assert isinstance(task, functools.partial) and task() == 48.0
    assert task.keywords["model"] == Model(8, optimizer=Optimizer(0.5))
    assert tree()() == 48.0


def test_a_config_in_two_places_is_built_once_and_stays_one_in_a_clone() -> None:
    shared = Config(Optimizer)
    config = Partial(everything, nested={"a": [shared, shared]})
    values = build(config)()["nested"]["a"]
    assert values[0] is values[1]
    other = clone(config)
    other.nested["a"][0].lr = 7.0
    assert other.nested["a"][1].lr == 7.0 and config.nested["a"][0].lr == 1e-3


def test_a_config_that_holds_itself_is_refused() -> None:
    config = Partial(everything)
    config.anything = [config]
    with pytest.raises(ConfigError, match="holds itself"):
        build(config)


def test_every_kind_of_parameter_is_passed_as_the_target_wants_it() -> None:
    assert build(Config(positional, 1)) == (1, 2, 3, 4)
    assert build(Config(positional, 1, 2, 3, 5, 6, d=7)) == (1, 2, 3, 5, 6, 7)
    late = Partial(positional)
    late.a, late.rest = 9, (8,)
    assert late() == (9, 2, 3, 8, 4)
    assert build(Config(anywords, second=2)) == {"first": 1, "second": 2}
    with pytest.raises(ConfigError, match="expected int"):
        Config(anywords, second="x")  # type: ignore[arg-type]
    assert build(Partial.of(functools.partial(adam, lr=3.0)))() == Optimizer(3.0)
    assert build(Config(dict, a=1)) == {"a": 1}


def test_what_an_unannotated_function_built_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"expected Model, got str 'no optimizer'; that is what model was built to"):
        build(Partial(everything, model=Config(wrong_kind)))
    assert build(Config(unannotated, x=5)) == 5


def test_an_exception_of_a_target_says_where_it_stood() -> None:
    with pytest.raises(RuntimeError, match="cannot") as caught:
        build(Partial(everything, ii=[Config(failing)]))
    assert caught.value.__notes__ == ["while building ii[0] (tests.launch.config.targets:failing)"]


def test_a_parameter_named_like_a_method_is_the_parameter() -> None:
    config = Partial(diff_target, clone=5)
    config.diff = 7
    assert (config.clone, config.diff, build(config)()) == (5, 7, 12)
    assert not diff(config, clone(config))


def test_walk_and_broadcast_reach_every_config_that_has_the_parameter() -> None:
    config = tree()
    broadcast(config, lr=4.0)
    assert (config.lr, config.model.optimizer.lr) == (4.0, 4.0)
    walk(config, lr=lambda node: node.lr / 2)
    assert (config.lr, config.model.optimizer.lr) == (2.0, 2.0)
    with pytest.raises(ConfigError, match="no Config in the tree has a parameter 'lrr'; did you mean 'lr'"):
        broadcast(config, lrr=1)


def test_copies_are_equal_and_independent() -> None:
    for copied in (clone(tree()), copy.deepcopy(tree()), pickle.loads(pickle.dumps(tree()))):
        assert copied == tree()
        copied.model.optimizer.lr = 9.0
        assert copied != tree()
    assert clone(tree(), steps=9).steps == 9


def test_diff_names_every_place_and_nothing_else() -> None:
    old, new = tree(), tree()
    assert not diff(old, new) and str(diff(old, new)) == ""
    new.model.hidden, new.model.layers, new.model.optimizer = 9, [1], Config(Optimizer)
    assert str(diff(old, new)).splitlines() == [
        "~ model.hidden: 8 -> 9",
        "~ model.optimizer is a call of Config(tests.launch.config.targets:adam) -> Config(tests.launch.config.targets:Optimizer)",
        "~ model.optimizer.lr: 0.5 -> 0.001",
        "+ model.optimizer.betas: (0.9, 0.99)",
        "+ model.optimizer.name: 'adam'",
        "+ model.layers[0]: 1",
    ]


def test_history_names_the_line_that_set_each_value() -> None:
    config = tree()
    config.model.optimizer.lr = 0.25
    line = sys._getframe().f_lineno - 1
    last = [change for change in history(config) if change.path == "model.optimizer.lr"][-1]
    assert (last.old, last.new, last.origin.line, Path(last.origin.where).name) == (0.5, 0.25, line, Path(__file__).name)
    assert where_set(config, "model.optimizer.lr") == f"{__file__}:{line}"
    assert where_set(config, "model.activation") == "default"


def test_visualize_draws_the_tree() -> None:
    assert visualize(tree(), defaults=False).splitlines() == [
        "Partial train", "├─ model: Config Model", "│  ├─ hidden = 8", "│  └─ optimizer: Config adam", "│     └─ lr = 0.5", "├─ lr = 2.0",
        "└─ steps = 3",
    ]  # fmt: skip
    dot = visualize(tree(), format="dot")
    assert dot.startswith("digraph") and dot.count("->") == 2


def test_targets_of_lists_all_paths() -> None:
    assert [path.partition(":")[2] for path in targets_of(tree())] == ["Model", "adam", "train"]


class Small(Config[Model]):
    hidden: Annotated[int, Le(100)] = 16

    def validate(self) -> None:
        if self.hidden % 8:
            raise ValueError("hidden is a multiple of 8")


class Quick(Config[float], target=train):
    lr: float = 9.0


def test_a_typed_subclass_narrows_and_validates() -> None:
    assert build(Small()) == Model(hidden=16)
    with pytest.raises(ConfigError, match="less than or equal to 100"):
        Small(hidden=800)
    with pytest.raises(ConfigError, match="Small: hidden is a multiple of 8"):
        Small(hidden=9)
    config = Small(hidden=24)
    config.hidden = 25  # alone it fits; together it is refused before it is built
    with pytest.raises(ConfigError, match="model: Small: hidden is a multiple of 8"):
        build(Partial(everything, model=config))  # type: ignore[arg-type]
    quick = Quick()
    quick.model = Config(Model)
    assert build(quick) == 64 * 9.0 * 100


def test_a_typed_subclass_with_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="Model has no parameter 'hiden'; did you mean 'hidden'"):

        class Wrong(Config[Model]):
            hiden: int

    with pytest.raises(ConfigError, match="names no target"):

        class Nameless(Config):  # type: ignore[type-arg]
            pass


def test_a_secret_is_read_when_it_is_built_and_shown_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("from file\n")
    file.chmod(0o600)
    monkeypatch.setenv("A_TOKEN", "from variable")
    reference = Secret.variable("A_TOKEN")
    config = Config(connect, "me", Secret.file(file), reference)
    assert build(config) == ("me", "from file", reference)
    assert build(Config(connect, "me", reference))[1] == "from variable"
    assert build(Config(connect, "me", Secret.command([sys.executable, "-c", "print('from command')"])))[1] == "from command"
    assert "from" not in repr(config) + visualize(config) + str(diff(config, clone(config, user="you")))
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others: chmod 600"):
        build(config)
    monkeypatch.delenv("A_TOKEN")
    with pytest.raises(ConfigError, match="A_TOKEN is not set"):
        reference.reveal()
    with pytest.raises(ConfigError, match="ended with status 3"):
        Secret.command([sys.executable, "-c", "raise SystemExit(3)"]).reveal()
    with pytest.raises(ConfigError, match="takes an argument list"):
        Secret.command("pass show x")
    with pytest.raises(ConfigError, match="expected int, got Secret"):
        Config(Plain, reference)  # type: ignore[arg-type]
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
        file.chmod(0o600)
        with pytest.raises(ConfigError, match="belongs to another user"):
            build(config)
