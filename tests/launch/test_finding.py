"""Finding experiments, whatever is damaged: an index is made anew, a file is named in one line, neither hides others, and no text means two."""

import os
import sqlite3
from pathlib import Path

import pytest

from hpcflow.cli.launch import app
from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch import Experiment, Script
from hpcflow.launch.executors.base import JobHandle
from hpcflow.launch.experiment import catalog
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.question import _read
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.files import append_line, make_directory, write_json


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def ended(title):
    """An experiment as its files are after a run."""
    exp = Experiment(title)
    exp.add(Script(inline="true"), name="t")
    records = Records.create(exp.directory, exp.spec())
    lease = Lease.take(exp.directory)
    directory = records.write_intent(records.spec().task("t"), 1, f"{exp.id}-1")
    records.write_submitted(JobHandle(f"{exp.id}-1", str(directory), "1", {"host": "here"}))
    write_json(directory / "exit.json", {"code": 0, "cancelled": None})
    records.note("finished", status=0)
    lease.give_back()
    return Experiment.open(exp.directory)


@pytest.mark.parametrize("how", ["no database", "a torn page", "another table", "no file but a folder"])
def test_a_damaged_index_is_made_anew_or_done_without(at_home, how, monkeypatch):
    exp = ended("one")
    index = at_home / "index.sqlite"
    index.unlink(missing_ok=True)
    if how == "no database":
        index.write_bytes(b"no database at all" * 100)
    elif how == "another table":
        sqlite3.connect(index).execute("create table rows (a text)")
    elif how == "no file but a folder":
        index.mkdir()
    else:
        catalog.rows()
        content = index.read_bytes()
        index.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    for _ in range(2):
        assert [row["id"] for row in catalog.rows()] == [exp.id]
    assert app(["list", "--reindex"]) == 0 and Experiment.from_title("one").id == exp.id
    if how in ("no database", "a torn page"):
        monkeypatch.setattr(catalog, "experiment_row", lambda records: pytest.fail("the row is in the new index"))
        assert [row["id"] for row in catalog.rows()] == [exp.id]


@pytest.mark.parametrize("content", ["", '{"a', "[]", "{}", '{"schema": 1, "tasks": [{"needs": 3}]}', '{"schema": 99}'])
def test_a_damaged_experiment_is_named_and_hides_no_other(at_home, content, capsys):
    good, bad = ended("good"), ended("bad")
    (bad.directory / "experiment.json").write_text(content)
    assert {row["id"]: row["state"] for row in catalog.rows()} == {good.id: "succeeded", bad.id: "damaged"}
    assert app(["status", "good"]) == 0
    with pytest.raises((LaunchError, ConfigError), match=r"is damaged .*move it away|this hpcflow reads"):
        app(["status", bad.id])
    with pytest.raises(ConfigError, match="no experiment 'bad'"):
        app(["status", "bad"])


@pytest.mark.parametrize("content", ["", "{", "{}", "[1]"])
@pytest.mark.parametrize("name", ["lease.json", "tasks/0000-t/attempts/1/exit.json", "tasks/0000-t/attempts/1/submitted.json"])
def test_a_damaged_file_of_an_experiment_is_named(at_home, name, content):
    exp = ended("one")
    (exp.directory / name).write_text(content)
    with pytest.raises(LaunchError, match=rf"{Path(name).name} (is damaged|cannot be read)"):
        app(["status", exp.id])


def test_lines_of_a_journal_that_are_none_are_left_out(at_home):
    exp = ended("one")
    (journal,) = (exp.directory / "journal").iterdir()
    journal.write_text(journal.read_text() + 'gar\n[1]\n{"x": 1}\n{"time": 1.0, "ev')
    assert app(["status", exp.id]) == 0


def test_a_damaged_answer_is_no_answer(tmp_path):
    for content in ("", "[]", '{"asked": 1}', '{"asked": 1, "error": null, "jobs": {"k": {}}}'):
        (tmp_path / "answer.json").write_text(content)
        assert _read(tmp_path / "answer.json").asked_s == 0.0
        (tmp_path / "answer.json").unlink()


def test_what_cannot_be_written_is_named_in_one_line_and_leaves_no_draft(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    for act in (
        lambda: make_directory(tmp_path / "file" / "a" / "b"),
        lambda: write_json(tmp_path / "none" / "x.json", 1),
        lambda: write_json(tmp_path / "folder", 1),
        lambda: append_line(tmp_path / "folder", {}),
    ):
        with pytest.raises(LaunchError, match=r"(file|none/x\.json|folder) cannot be written: [A-Z]"):
            act()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_text_that_is_a_title_and_begins_another_id_is_neither(at_home):
    first = ended("other")
    second = ended(first.id[:7])
    with pytest.raises(ConfigError, match=rf"'{first.id[:7]}' is the title of {second.directory.name} and begins the id of {first.directory.name}"):
        catalog.find(first.id[:7])
    assert catalog.find(first.id) == first.directory == catalog.find("other") == catalog.find(first.id[:5])
    assert catalog.find_title(first.id[:7]) == second.directory == catalog.find(second.id)
