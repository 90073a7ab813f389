"""Files: a round trip without loss in three formats, targets from the allow-list alone, nothing run by reading."""

from __future__ import annotations

import datetime
import decimal
import fractions
import json
import math
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcflow.errors import ConfigError
from hpcflow.launch import (
    Config,
    EditedFileWarning,
    Partial,
    Script,
    Secret,
    build,
    clone,
    content_hash,
    diff,
    dumps,
    load,
    loads,
    save,
    targets_of,
    where_set,
)
from hpcflow.launch.config.document import identical
from tests.launch.config.targets import Checked, Color, Model, Optimizer, Plain, Size, adam, connect, everything, train, unannotated
from tests.launch.config.test_building import Small

HERE = "tests.launch.config.targets"
FORMATS = ("yaml", "json", "toml")
ALLOW = (HERE, "tests.launch.config.test_building")


def full() -> Partial[dict[str, Any]]:
    shared = Config(Optimizer, lr=0.125)
    return Partial(
        everything, i=-5, f=1e-30, b=True, s="no", o=7, e=Color.BLUE, p=Path("/a b"), ii=[1, 2], nested={"a": [shared, shared], "": []},
        pair=(1, "x"), many=(1.0, 2.0), kinds={"b", "a"}, size=Size(3, 4), call=Partial(adam), kind=Optimizer,
        model=Small(hidden=24), union="3", anything={1: (2, {"_target_": "os:system"}), "x": [None, {3}, b"\0", math.inf]},
        plain=Config(Plain, 1, 2, 3, tag="1e-3"),
    )  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_everything_comes_back_from_a_file(format: Any, tmp_path: Path) -> None:
    config = full()
    path = save(config, tmp_path / f"c.{format}")
    loaded = load(path, allow=ALLOW)
    assert loaded == config and not diff(config, loaded)
    assert type(loaded.model) is Small and type(loaded.size) is Size and loaded.nested["a"][0] is loaded.nested["a"][1]
    assert dumps(loaded, format) == path.read_text() and content_hash(loaded) == content_hash(config)
    assert json.dumps([str(c.origin.where) for c in loaded.history()]).count(str(path)) > 10
    assert path.stat().st_mode & 0o077 == 0


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")) | st.binary(max_size=9) | st.complex_numbers()
    | st.decimals().filter(lambda d: not d.is_snan()) | st.fractions() | st.uuids() | st.datetimes() | st.dates() | st.times() | st.timedeltas()
    | st.sampled_from(["no", "1e-3", "12:30:00", "~", "0x1f", "_a_", "null", "=", "<<", "1_000", ".5", "@x", "\ufeff", "1.", "0o7", "+.inf"])
)  # fmt: skip
KEYS = st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(["_tuple_", "_target_", "_none_", "_ordered_", "yes", "1", "a.b"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@example(value={"a": None, "b": [None]}, format="toml")  # a short list of mappings is a line, which TOML puts before tables
@example(value={"b": [{"x": "long" * 30}], "a": [None], "c": 1}, format="toml")
@given(value=VALUES, format=st.sampled_from(FORMATS))
def test_any_plain_value_comes_back_as_it_was(value: Any, format: Any) -> None:
    config = Partial(unannotated, x=value)
    assert _same(loads(dumps(config, format), format, allow=ALLOW).x, value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, decimal.Decimal | complex):
        return type(one) is type(other) and repr(one) == repr(other)
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    return identical(one, other)


def test_the_other_formats_of_the_same_config_are_read_by_other_readers() -> None:
    config = Partial(train, Config(Model), 1e-5, callbacks=[])
    assert tomllib.loads(dumps(config, "toml"))["config"] == json.loads(dumps(config, "json"))["config"]
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(dumps(Partial(everything, s="no", f=1e-30), "yaml"))["config"]["f"] == 1e-30
    assert yaml.safe_load(dumps(Partial(everything, s="no"), "yaml"))["config"]["s"] == "no"


def test_defaults_are_in_the_file_and_stay_defaults() -> None:
    text = dumps(Config(Optimizer, lr=0.5))
    assert "name: adam" in text and "betas:" in text
    loaded = loads(text, allow=[HERE])
    assert repr(loaded) == "Config(Optimizer, lr=0.5)"


def test_what_no_file_can_say_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"anything\[0\]: builtins\.object cannot be written to a file"):
        dumps(Partial(everything, anything=[object()]))
    with pytest.raises(ConfigError, match="is a lambda and cannot be named in a file"):
        dumps(Partial(everything, call=lambda i: Optimizer()))

    def local() -> None: ...

    with pytest.raises(ConfigError, match="is defined inside a function"):
        dumps(Partial(local))


def test_a_ready_made_instance_comes_back_as_a_config_that_builds_it() -> None:
    loaded = loads(dumps(Partial(everything, checked=Checked(0.25))), allow=[HERE])
    assert loaded.checked == Config(Checked, 0.25) and build(loaded)()["checked"] == Checked(0.25)


ATTACKS = [
    ("_target_: os:system\ncommand: true", "the target os:system is not allowed"),
    (f"_target_: {HERE}:os.system", "is refused: the object found there is posix:system"),
    (f"_target_: {HERE}:Path", "is refused: the object found there is pathlib"),
    (f"_target_: {HERE}:Nothing", "is not there: "),
    (f"_target_: {HERE}:Plain.__init__.__globals__", "is refused: the object found there is a dict"),
    (f"_target_: {HERE}evil:x", "is not allowed"),
    ("_target_: builtins:eval", "is not allowed"),
    ("_target_: 'builtins:eval(1)'", "is no target"),
    ("_target_: [a]", "is no target"),
    (f"_target_: {HERE}:everything\nanything: {{_ref_: 'os:system'}}", "text:2: the target os:system is not allowed"),
    (f"_target_: {HERE}:everything\nanything: {{_bytes_: '%'}}", "text:2: _bytes_ is not followed by what it needs"),
    (f"_target_: {HERE}:everything\nanything: {{_wrong_: 1}}", "text:2: _wrong_ is not followed by what it needs"),
    (f"_target_: {HERE}:everything\nanything: !!python/object/apply:os.system [true]", "text:2: the tag"),
    (f"_target_: {HERE}:everything\nanything: &a [*a]", "aliases make it endless"),
    (f"_target_: {HERE}:everything\ni: 1\ni: 2", "text:3: the key 'i' is there twice"),
    (f"_target_: {HERE}:everything\n\ni: x", "everything.i: expected int, got str 'x' (text:3)"),
    (f"_target_: {HERE}:everything\nanything: {{_secret_: {{shell: x}}}}", "text:2: a secret is one of"),
    (f"_target_: {HERE}:everything\nanything: {{_same_: 3}}", "comes before the _id_"),
    (f"_target_: {HERE}:everything\nanything: {{_tuple_: [1], x: 2}}", "_tuple_ stands alone in its mapping"),
    (f"_target_: {HERE}:Model\n_class_: {HERE}:Optimizer", "is no Config of"),
    ("a: [", "text:1: no YAML"),
    ("a: 1", "names no _target_"),
    ("", "names no _target_"),
]


@pytest.mark.parametrize(("text", "says"), ATTACKS, ids=[says[:30] for _, says in ATTACKS])
def test_a_file_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        build(loads(text, allow=[HERE]))


def test_without_an_allow_list_a_file_names_nothing() -> None:
    with pytest.raises(ConfigError, match=re.escape(f'In code: launch.allow("{HERE}")')):
        loads(dumps(full()))


def test_the_allow_list_may_name_just_what_the_file_needs() -> None:
    config = full()
    assert loads(dumps(config), allow=targets_of(config)) == config


def test_reading_imports_nothing_and_building_imports_the_target(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("print('imported')\ndef f(x: int = 1, y: tuple[int, ...] = ()): return x, y\n")
    (tmp_path / "c.yaml").write_text("_target_: loud:f\nx: 3\ny: [1]\n")
    program = (
        "from hpcflow import launch; c = launch.load('c.yaml', allow=['loud']); print(c, c.x); d = launch.clone(c, x=4);"
        "print(launch.build(d)); c.y = [2]; launch.dumps(c); print(c == launch.loads(launch.dumps(c), allow=['loud'])); c.x = 'x'"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["Config(loud:f, x=3, y=[1]) 3", "imported", "(4, (1,))", "True"], done.stderr
    assert done.stderr.splitlines()[-1].endswith("f.x: expected int, got str 'x'")


@pytest.mark.parametrize(("format", "text", "line"), [
    ("yaml", f"hpcflow: {{schema: 1}}\nconfig:\n  _target_: {HERE}:Model\n  optimizer:\n    _target_: {HERE}:adam\n    lr: 0.5\n", 6),
    ("json", f'{{"_target_": "{HERE}:Model",\n "optimizer":\n  {{"_target_": "{HERE}:adam",\n   "lr": 0.5}}}}', 4),
    ("toml", f'_target_ = "{HERE}:Model"\n# note\n[optimizer]\n_target_ = "{HERE}:adam"\nlr = 0.5\n', 5),
])  # fmt: skip
def test_history_names_file_and_line(format: Any, text: str, line: int) -> None:
    config = loads(text, format, source="a.file", allow=[HERE])
    assert where_set(config, "optimizer.lr") == f"a.file:{line}"


def test_an_edited_file_is_said_to_be_edited_and_another_schema_is_refused() -> None:
    text = dumps(Config(Optimizer))
    with pytest.warns(EditedFileWarning, match="was edited after it was written"):
        assert loads(text.replace("adam", "sgd"), allow=[HERE]).name == "sgd"
    with pytest.raises(ConfigError, match="written in schema 7"):
        loads(text.replace("schema: 1", "schema: 7"), allow=[HERE])


def test_a_secret_is_written_as_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_X", "very secret")
    config = Config(connect, "me", Secret.variable("TOKEN_X"), Secret.command(["pass", "x y"]))
    for format in FORMATS:
        text = dumps(config, format)  # type: ignore[arg-type]
        assert "very secret" not in text and loads(text, format, allow=[HERE]) == config  # type: ignore[arg-type]
    assert "very secret" not in diff(config, clone(config, user="b")).json()
    assert json.loads(diff(config, clone(config, token=Secret.file("f"))).json())[0]["new"] == {"_secret_": {"file": "f"}}


def test_a_script_is_written_and_read() -> None:
    script = Script("a.sh", args=["x", ""], env={"A": "1", "B": Secret.variable("B")}, interpreter=["bash", "-e"])
    for format in FORMATS:
        assert loads(dumps(script, format), format) == script  # type: ignore[arg-type]


def test_the_scalars_of_a_config_keep_their_types() -> None:
    values = [
        datetime.date(2024, 1, 2),
        datetime.timedelta(1),
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=5),
        range(3),
        1j,
        -0.0,
    ]
    for format in FORMATS:
        loaded = loads(dumps(Partial(everything, anything=values), format), format, allow=[HERE])  # type: ignore[arg-type]
        assert [repr(value) for value in loaded.anything] == [repr(value) for value in values]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none/c\.yaml' cannot be written: No such file or directory$"):
        save(Config(complex, 1.0), tmp_path / "none" / "c.yaml")
