"""Options of a session: four sources, one answer, and a clear no to anything unknown."""

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcflow.config
from hpcflow.config import OPTIONS, OTHER_VARIABLES, load_config, resolve_config
from hpcflow.errors import ConfigError
from hpcflow.options import SIZE_UNITS, duration, size


def test_later_sources_win_and_where_tells_which():
    toml = '[hpcflow]\nworkers = 2\nthreads = 3\nchunk_bytes = "2MiB"\n[other]\nx = 1\n'
    config = resolve_config({"workers": 5, "threads": None}, {"HPCFLOW_WORKERS": "4", "HPCFLOW_THREADS": "7", "PATH": "/bin"}, toml, "my.toml")
    assert (config.workers, config.threads, config.chunk_bytes, config.master) == (5, 7, 2 << 20, "dedicated")
    where = [config.where(name) for name in ("workers", "threads", "chunk_bytes", "master")]
    assert where == ["keyword argument", "variable HPCFLOW_THREADS", "file my.toml", "default"]


def test_defaults_pass_their_own_parsers():
    for name, option in OPTIONS.items():
        if option.default is not None:
            assert option.metadata["parse"](option.default) == option.default, name


@pytest.mark.parametrize(
    ("value", "bytes_"),
    [
        (0, 0),
        (512, 512),
        ("512", 512),
        ("512MB", 512_000_000),
        ("1GiB", 1 << 30),
        ("1.5 gib", 3 << 29),
        ("4k", 4000),
        ("1e3b", 1000),
        ("8Ti", 8 << 40),
    ],
)
def test_sizes_are_bytes(value, bytes_):
    assert size(value) == bytes_


@pytest.mark.parametrize("value", ["", "MB", "12 apples", "-1", -1, True, 1.5, "1.5b", None, "1,5GB", [1], "nan"])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match="expected bytes"):
        size(value)


@given(st.integers(0, 1 << 50), st.sampled_from(sorted(SIZE_UNITS)))
def test_whole_sizes_are_exact_in_every_unit(number, unit):
    assert size(f"{number}{unit}") == number * SIZE_UNITS[unit]


@pytest.mark.parametrize(("value", "seconds"), [(5, 5.0), (0.5, 0.5), ("500ms", 0.5), ("5s", 5.0), ("2min", 120.0), ("1 h", 3600.0), ("0", 0.0)])
def test_durations_are_seconds(value, seconds):
    assert duration(value) == seconds


@pytest.mark.parametrize("value", ["", "s", "5 parsecs", -1, float("nan"), float("inf"), False, None])
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match="expected seconds"):
        duration(value)


@pytest.mark.parametrize(
    ("keywords", "environ", "toml", "words"),
    [
        ({"wokers": 2}, {}, None, ["'wokers'", "keyword argument", "did you mean 'workers'? Options are: workers"]),
        ({"zzzzzz": 2}, {}, None, ["'zzzzzz' (keyword argument). Options are: workers"]),
        ({}, {"HPCFLOW_WORKRS": "2"}, None, ["HPCFLOW_WORKRS", "did you mean 'HPCFLOW_WORKERS'", "? Unset it"]),
        ({}, {}, "[hpcflow]\nthread = 2", ["'thread'", "file hpcflow.toml", "'threads'"]),
        ({"workers": 0}, {}, None, ["at least 1", "got 0"]),
        ({"workers": True}, {}, None, ["whole number"]),
        ({}, {"HPCFLOW_WORKERS": "two"}, None, ["variable HPCFLOW_WORKERS", "'two'"]),
        ({"master": "none"}, {}, None, ["'dedicated', 'shared'"]),
        ({"window_bytes": 0}, {}, None, ["more than zero"]),
        ({"event_log": 3}, {}, None, ["text or a path"]),
        ({}, {"HPCFLOW_COMM": "x"}, None, ["keyword argument of Session"]),
        ({}, {}, "[hpcflw]\nx = 1", ["no table [hpcflow]", "'hpcflw'"]),
        ({}, {}, "workers = ", ["hpcflow.toml", "Invalid value"]),
    ],
)
def test_wrong_option_is_refused_with_its_source_and_a_way_out(keywords, environ, toml, words):
    with pytest.raises(ConfigError) as caught:
        resolve_config(keywords, environ, toml)
    for word in words:
        assert word in str(caught.value)


def test_every_option_has_a_reader():
    package = Path(hpcflow.config.__file__).parent
    source = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "config.py")
    assert [name for name in OPTIONS if f"config.{name}" not in source] == []


def test_other_documented_variables_are_left_alone():
    assert resolve_config({}, dict.fromkeys(OTHER_VARIABLES, "x") | {"HPCFLOW_SCRATCH": ""}) == resolve_config({})


def test_scratch_takes_one_or_several_directories(tmp_path):
    assert resolve_config({"scratch": tmp_path}).scratch == (str(tmp_path),)
    assert resolve_config({"scratch": [tmp_path, "/b"]}).scratch == (str(tmp_path), "/b")
    assert resolve_config({}, {"HPCFLOW_SCRATCH": "/a:/b"}).scratch == ("/a", "/b")


def test_file_is_named_by_keyword_or_variable(tmp_path):
    (tmp_path / "a.toml").write_text("[hpcflow]\nworkers = 2")
    (tmp_path / "b.toml").write_text("[hpcflow]\nworkers = 3")
    environ = {"HPCFLOW_CONFIG": str(tmp_path / "a.toml")}
    assert load_config({}, environ).workers == 2
    assert load_config({"config": tmp_path / "b.toml"}, environ).workers == 3
    with pytest.raises(ConfigError, match="cannot read the configuration file"):
        load_config({"config": tmp_path / "c.toml"}, {})


def test_configuration_travels_to_workers():
    config = resolve_config({"workers": 3})
    assert pickle.loads(pickle.dumps(config)).where("workers") == "keyword argument"


def test_describe_shows_every_option_and_its_source():
    lines = resolve_config({"workers": 3}).describe().splitlines()
    assert len(lines) == len(OPTIONS) and "workers = 3  (keyword argument)" in lines


def test_page_of_options_is_up_to_date():
    page = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    rows = [f"| `{name}` | `{option.default!r}` | {option.metadata['doc']} |" for name, option in OPTIONS.items()]
    rows += [f"| `{name}` | {meaning} |" for name, meaning in OTHER_VARIABLES.items()]
    assert [row for row in rows if row not in page] == []
    assert page.count("\n| `") == len(rows)


def test_the_variables_of_a_tracked_job_are_known_to_the_sessions_in_it():
    templates = Path(hpcflow.config.__file__).parent / "launch" / "templates"
    exported = {name for path in templates.glob("*.j2") for name in re.findall(r"HPCFLOW_[A-Z_]+", path.read_text())}
    assert exported >= {"HPCFLOW_JOB_KEY", "HPCFLOW_STOP_FILE"}
    assert exported <= set(OTHER_VARIABLES)


def test_variables_that_scripts_and_tests_set_are_known():
    root = Path(__file__).parents[1]
    files = [root / "Makefile", *(root / "tools").glob("*"), *(root / "tests").rglob("*.sh")]
    named = {name for file in files if file.is_file() for name in re.findall(r"\bHPCFLOW_[A-Z_]+(?==)", file.read_text())}
    assert "HPCFLOW_SANITIZE" in named
    assert named <= {*OTHER_VARIABLES, *(f"HPCFLOW_{name.upper()}" for name in OPTIONS)}
