"""The override grammar: what each word does, what is refused, and that any value that can be written comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import ConfigError
from hpcflow.launch import Config, Partial, allow, build, clone, dumps, override, override_from_environment, save, sweep, update, where_set
from hpcflow.launch.config.document import identical
from hpcflow.launch.config.factories import factory
from hpcflow.launch.config.grammar import parse, quote, spell
from tests.launch.config.targets import Color, Model, Optimizer, Size, anywords, everything, train, unannotated

HERE = "tests.launch.config.targets"


@factory
def big(size: int = 9, lr: float = 1.0) -> Model:
    return Config(Model, hidden=size, optimizer=Config(Optimizer, lr=lr))


@factory(name="fast")
def make_fast(lr: float = 8.0) -> Optimizer:
    return Optimizer(lr)


@factory
def maker(lr: float = 2.0) -> Partial[Optimizer]:
    return Partial(Optimizer, lr=lr)


SETS = [
    ("i=5", "i", 5),
    ("i=-5", "i", -5),
    ("i=1_000", "i", 1000),
    ("i=0x1f", "i", 31),
    ("f=3", "f", 3.0),
    ("f=1e-3", "f", 1e-3),
    ("f=inf", "f", float("inf")),
    ("b=true", "b", True),
    ("b=off", "b", False),
    ("b=1", "b", True),
    ("s=5", "s", "5"),
    ("s=true", "s", "true"),
    ("s=null", "s", "null"),
    ("s=", "s", ""),
    ("s= a b ", "s", " a b "),
    ("s=f(x=1)", "s", "f(x=1)"),
    ("s=[1, 2]", "s", "[1, 2]"),
    ("s={a: 1}", "s", "{a: 1}"),
    ("s=a=b", "s", "a=b"),
    ("s=it's", "s", "it's"),
    ("s='a,b'", "s", "a,b"),
    ('s="a\\n\\u00e9"', "s", "a\né"),
    ("s='a\\n'", "s", "a\\n"),
    ("s=big", "s", "big"),
    ("s=~x", "s", "~x"),
    ("o=null", "o", None),
    ("o=7", "o", 7),
    ("e=BLUE", "e", Color.BLUE),
    ("e=red", "e", Color.RED),
    ("p=/a/b", "p", Path("/a/b")),
    ("p='a,b'", "p", Path("a,b")),
    ("ii=[]", "ii", []),
    ("ii=[1,2]", "ii", [1, 2]),
    ("pair=[3,x]", "pair", (3, "x")),
    ("many=[1,2.5]", "many", (1.0, 2.5)),
    ("kinds=[a,b]", "kinds", {"a", "b"}),
    ("size=[7,8]", "size", Size(7, 8)),
    ("bounded=0.25", "bounded", 0.25),
    ("union=5", "union", 5),
    ("union='5'", "union", "5"),
    ("union=x", "union", "x"),
    ("anything=5", "anything", 5),
    ("anything='5'", "anything", "5"),
    ("anything=[1,{a: null}]", "anything", [1, {"a": None}]),
    ("anything=x y", "anything", "x y"),
    ("model=big", "model", Config(Model, hidden=9, optimizer=Config(Optimizer, lr=1.0))),
    ("model=big(size=3)", "model", Config(Model, hidden=3, optimizer=Config(Optimizer, lr=1.0))),
    ("model={hidden: 3, optimizer: fast(lr=2)}", "model", Config(Model, hidden=3, optimizer=Config(Optimizer, lr=2.0))),
    ("model.hidden=3", "model", Config(Model, hidden=3)),
    ("model.optimizer.lr=3", "model", Config(Model, optimizer=Config(Optimizer, lr=3.0))),
    ("model.optimizer=fast", "model", Config(Model, optimizer=Config(Optimizer, lr=8.0))),
    ("call=maker(lr=3)", "call", Partial(Optimizer, lr=3.0)),
    ("nested={a: [fast, fast(lr=1)]}", "nested", {"a": [Config(Optimizer, 8.0), Config(Optimizer, 1.0)]}),
]


@pytest.mark.parametrize(("word", "name", "value"), SETS, ids=[word for word, *_ in SETS])
def test_a_text_is_read_by_the_annotation(word: str, name: str, value: object) -> None:
    config = Partial(everything)
    override(config, word)
    assert getattr(config, name) == value and type(getattr(config, name)) is type(value)
    assert word in {str(change.origin.where) for change in config.history()}


CHANGES = [
    ("ii+=4", "ii", [1, 2, 3, 4]),
    ("ii+=[4,5]", "ii", [1, 2, 3, 4, 5]),
    ("ii-=2", "ii", [1, 3]),
    ("ii-=[1,3]", "ii", [2]),
    ("~ii[0]", "ii", [2, 3]),
    ("ii[-1]=9", "ii", [1, 2, 9]),
    ("ii[0]+=9", "ii", [10, 2, 3]),
    ("~ii", "ii", []),
    ("i+=2", "i", 3),
    ("i-=2", "i", -1),
    ("f+=0.5", "f", 1.5),
    ("s+='b,c'", "s", "ab,c"),
    ("many+=3", "many", (1.0, 3.0)),
    ("kinds+=b", "kinds", {"a", "b"}),
    ("kinds-=a", "kinds", set()),
    ("pair[1]=7", "pair", (0, "7")),
    ("size[0]=4", "size", Size(4, 2)),
    ("anything.k=2", "anything", {"k": 2, "l.m": [1, 2]}),
    ("anything['l.m'][0]=x", "anything", {"k": 1, "l.m": ["x", 2]}),
    ("anything+={z: 1}", "anything", {"k": 1, "l.m": [1, 2], "z": 1}),
    ("anything-=k", "anything", {"l.m": [1, 2]}),
    ("~anything.k", "anything", {"l.m": [1, 2]}),
    ("~anything['l.m'][1]", "anything", {"k": 1, "l.m": [1]}),
    ("nested.a[0].lr=5", "nested", {"a": [Config(Optimizer, 5.0)]}),
    ("nested.a+=fast", "nested", {"a": [Config(Optimizer), Config(Optimizer, 8.0)]}),
    ("nested.b=[fast]", "nested", {"a": [Config(Optimizer)], "b": [Config(Optimizer, 8.0)]}),
    ("~nested.a", "nested", {}),
]


@pytest.mark.parametrize(("word", "name", "value"), CHANGES, ids=[word for word, *_ in CHANGES])
def test_an_operator_changes_what_is_there(word: str, name: str, value: object) -> None:
    config = started()
    override(config, word)
    assert getattr(config, name) == value and type(getattr(config, name)) is type(value)


def started() -> Partial[dict[str, Any]]:
    return Partial(
        everything, i=1, f=1.0, s="a", ii=[1, 2, 3], many=(1.0,), kinds={"a"}, anything={"k": 1, "l.m": [1, 2]}, nested={"a": [Config(Optimizer)]}
    )


REFUSED = [
    ("i=x", "everything.i: expected int, got the text 'x'"),
    ("i=1.5", "expected int, got the text '1.5'"),
    ("i='x'", "expected int"),
    ("b=maybe", "expected bool, got the text 'maybe'"),
    ("bounded=7", "less than or equal to 1"),
    ("e=green", "expected Color (RED, BLUE), got the text 'green'"),
    ("model=bgi", "got the text 'bgi'; did you mean 'big'"),
    ("model=xyz", "factories for it are big"),
    ("model=big(sz=3)", "big has no parameter 'sz'; did you mean"),
    ("model=big(size=x)", "big.size: expected int, got the text 'x'"),
    ("model=fast", "expected Model | None, got the text 'fast'"),
    ("modl=1", "did you mean 'model'"),
    ("model.hiden=1", "Model has no parameter 'hiden'; did you mean 'hidden'"),
    ("ii=[1,x]", "everything.ii[1]: expected int, got the text 'x'"),
    ("ii[7]=1", "there are 3 items"),
    ("ii.x=1", "'x' is no index"),
    ("i.x=1", "is int and has nothing at 'x'"),
    ("ii-=9", "9 is not in it"),
    ("anything-=q", "'q' is not there"),
    ("anything.q.r=1", "the key is not there; there are 'k', 'l.m'"),
    ("s-=a", "takes nothing out of text"),
    ("b+=1", "are for numbers, text, lists"),
    ("i=1,2", "is a sweep of 2 values"),
    ("i=1,", "a value of the sweep is empty"),
    ("s=[a", "']' is missing; put text with brackets in quotes"),
    ("s=:)", "closes nothing"),
    ("s='a", "a quote is not closed"),
    ("s='a'b", "stands behind a closing quote"),
    ('s="\\q"', "is no escape"),
    ("=1", "is no override"),
    ("1=1", "is no override"),
    ("s", "expected =, += or -="),
    ("~s=1", "is too much"),
    ("anything=@", "a file is written @file.yaml"),
    ("anything=@nothere.yaml", "cannot be read"),
    ("s*=2", "expected =, += or -="),
    ("--help", "is no override"),
    ("i=__import__('os')", "expected int"),
    ("plain.tag=1,2", "is a sweep"),
    ("call=print", "got the text 'print'"),
]


@pytest.mark.parametrize(("word", "says"), REFUSED, ids=[word for word, _ in REFUSED])
def test_a_wrong_word_is_refused_and_changes_nothing(word: str, says: str) -> None:
    config = started()
    before = clone(config)
    with pytest.raises(ConfigError, match=re.escape(says)):
        override(config, "i=77", word)
    assert config == before


def test_a_file_is_a_value_a_section_and_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("i: 3\nmodel:\n  hidden: 5\n  optimizer:\n    lr: 1e-3\nlists:\n  many: [1, 2]\n")
    config = Partial(everything)
    override(config, "model=@base.yaml:model", "many=@base.yaml:lists.many", "i=@base.yaml:i")
    assert (config.model.hidden, config.model.optimizer.lr, config.many, config.i) == (5, 1e-3, (1.0, 2.0), 3)
    assert where_set(config, "model.optimizer.lr") == "base.yaml:5"
    other = Partial(everything, model=Config(Model, activation="gelu"))
    Path("part.toml").write_text("i = 3\n[model]\nhidden = 5\n[model.optimizer]\nlr = 2")
    override(other, "@part.toml", "model.hidden+=1")
    assert other.model == Config(Model, 6, "gelu", Config(Optimizer, lr=2.0)) and where_set(other, "model.optimizer.lr") == "part.toml:5"
    with pytest.raises(ConfigError, match=r"base\.yaml:6: everything has no parameter 'lists'"):
        override(config, "@base.yaml")
    Path("wrong.yaml").write_text("model:\n  hidden: x\n")
    with pytest.raises(ConfigError, match=r"Model\.hidden: expected int >= 1, got str 'x' \(wrong\.yaml:2\)"):
        override(config, "@wrong.yaml")
    with pytest.raises(ConfigError, match=r"has no section 'modl'.*model"):
        override(config, "model=@base.yaml:modl")


def test_a_complete_file_updates_a_config_of_the_same_target(tmp_path: Path) -> None:
    path = save(Partial(train, Config(Model, hidden=3), 2.0), tmp_path / "full.json")
    allow(HERE)
    config = Partial(train, Config(Model), 1.0, steps=9)
    update(config, str(path))
    assert (config.model.hidden, config.lr, config.steps) == (3, 2.0, 9)
    with pytest.raises(ConfigError, match=r"it is a configuration of .*train, not of .*everything"):
        update(Partial(everything), str(path))


def test_a_sweep_is_the_product_of_its_values() -> None:
    config = Partial(train, Config(Model), 1.0)
    found = [(words, one.lr, one.steps) for words, one in sweep(config, ["lr=1e-3,1e-4", "steps=1,2", "model.hidden=7"])]
    assert found == [
        (("lr=1e-3", "steps=1"), 1e-3, 1), (("lr=1e-3", "steps=2"), 1e-3, 2), (("lr=1e-4", "steps=1"), 1e-4, 1), (("lr=1e-4", "steps=2"), 1e-4, 2),
    ]  # fmt: skip
    assert config.model.hidden == 64
    texts = [one.x for _, one in sweep(Partial(unannotated), ["x='a,b',\"c\", d"])]
    assert texts == ["a,b", "c", "d"]


def test_a_required_config_is_made_where_its_parameters_are_set() -> None:
    config = Partial(train)  # type: ignore[call-arg]
    override(config, "model.hidden=2", "lr=1", "steps=1")
    assert build(config)() == 2.0
    words = Config(anywords)
    override(words, "second=2")
    assert build(words) == {"first": 1, "second": 2}


def test_variables_set_what_their_names_say() -> None:
    config = Partial(everything)
    environ = {"T_MODEL__HIDDEN": "7", "T_S": "a,b", "T_II": "[1, 2]", "T_F": "", "OTHER": "x"}
    override_from_environment(config, "T_", environ)
    assert (config.model.hidden, config.s, config.ii) == (7, "a,b", [1, 2])
    assert where_set(config, "model.hidden") == "variable T_MODEL__HIDDEN"
    before = clone(config)
    for name, text, says in (("T_SS", "1", "no parameter 'ss'"), ("T_I", "x", "expected int, got the text 'x'")):
        with pytest.raises(ConfigError, match=f"(?s){name}.*{says}"):
            override_from_environment(config, "T_", {"T_B": "true", name: text})
    assert config == before


TEXT = st.text(st.characters(codec="utf-8"))
WRITABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(value=WRITABLE)
def test_any_value_that_is_spelled_comes_back(value: Any) -> None:
    config = Partial(unannotated)
    override(config, f"x={spell(value)}")
    assert identical(config.x, value)


@given(text=TEXT)
def test_a_text_stays_the_text(text: str) -> None:
    config = Partial(everything)
    override(config, f"s={quote(text)}")
    assert config.s == text
    try:
        single = len(parse(f"s={text}").values) == 1 and text.strip()[:1] not in ("'", '"', "@")
    except ConfigError:
        return
    if single:
        override(config, f"s={text}")
        assert config.s == text


@given(word=st.text(st.sampled_from("ab=+-~,.[](){}'\"\\@: 1\n")))
def test_any_word_is_read_or_refused(word: str) -> None:
    try:
        found = parse(word)
    except ConfigError:
        return
    assert found.raw == word and (found.operator in ("~", "@") or word.startswith(found.head))


@given(values=st.lists(TEXT, min_size=2, max_size=4))
def test_a_sweep_of_any_texts_gives_these_texts(values: list[str]) -> None:
    words = "s=" + ",".join(quote(value) for value in values)
    assert [one.s for _, one in sweep(Partial(everything), [words])] == values


def test_what_overrides_set_is_written_to_files() -> None:
    config = Partial(everything)
    override(config, "model=big(size=4)", "s='x'")
    assert "hidden: 4" in dumps(config)
