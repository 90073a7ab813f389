"""Settings of the launch layer: five sources, who set what, whose files count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch import loads
from hpcflow.launch import settings as module


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with its own /etc, home and project."""
    for name in [name for name in os.environ if name.startswith("HPCFLOW_LAUNCH_")]:
        monkeypatch.delenv(name)
    for folder in ("etc", "home/.config/hpcflow", "project/.git", "project/sub"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(module, "SITE_FILE", str(tmp_path / "etc" / "launch.toml"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.chdir(tmp_path / "project" / "sub")
    yield tmp_path
    module.set_flags({})


def test_later_sources_win_and_show_says_which(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, user, project = place / "etc/launch.toml", place / "home/.config/hpcflow/launch.toml", place / "project/hpcflow-launch.toml"
    site.write_text('account = "site"\npartition = "site"\nqos = "site"\npoll_s = 60\nexecutor = "site"')
    user.write_text('partition = "user"\nqos = "user"\npoll_s = 50\nexecutor = "user"\nallow = ["mylib"]')
    project.write_text('qos = "project"\npoll_s = 40')
    monkeypatch.setenv("HPCFLOW_LAUNCH_POLL_S", "30")
    monkeypatch.setenv("HPCFLOW_LAUNCH_EXECUTOR", "variable")
    module.set_flags({"executor": "flag"})
    found = module.settings()
    assert (found.account, found.partition, found.qos, found.poll_s, found.executor) == ("site", "user", "project", 30.0, "flag")
    assert found.show().splitlines() == [
        f"home = '{place}/home/.local/share/hpcflow'   (default)",
        f"allow = ('mylib',)   (file {user})",
        "templates = ()   (default)",
        "executor = 'flag'   (flag --set executor)",
        f"account = 'site'   (file {site})",
        f"partition = 'user'   (file {user})",
        f"qos = 'project'   (file {project})",
        "poll_s = 30.0   (variable HPCFLOW_LAUNCH_POLL_S)",
    ]


def test_what_files_may_name_is_not_for_projects_and_variables_to_say(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "home/.config/hpcflow/launch.toml").write_text('allow = ["fractions"]')
    assert loads("_target_: fractions:Fraction")
    monkeypatch.setenv("HPCFLOW_LAUNCH_ALLOW", "os")
    with pytest.raises(ConfigError, match=r"counts only in .*launch\.toml and in the user's file"):
        module.settings()
    monkeypatch.delenv("HPCFLOW_LAUNCH_ALLOW")
    (place / "project/hpcflow-launch.toml").write_text('allow = ["os"]')
    with pytest.raises(ConfigError, match="counts only in"):
        module.settings()


@pytest.mark.parametrize("text", ['executor = "local(setup=[])"', 'home = "/elsewhere"'])
def test_a_project_file_says_neither_what_runs_nor_where_files_go(place: Path, text: str) -> None:
    (place / "project/hpcflow-launch.toml").write_text(text)
    with pytest.raises(ConfigError, match="does not count in a project's file"):
        module.settings()


def test_a_project_file_above_the_repository_is_not_looked_at(place: Path) -> None:
    (place / "hpcflow-launch.toml").write_text('qos = "above"')
    assert module.settings().qos is None


@pytest.mark.parametrize(("text", "says"), [
    ('qoss = "x"', "unknown setting 'qoss' .*did you mean 'qos'"), ("poll_s = 1", "at least 10 seconds.*got 1"), ("account = 3", "expected text"),
    ("home = ", "is no TOML"), ("allow = 'x'\nallow = 'y'", "is no TOML"),
])  # fmt: skip
def test_a_wrong_setting_is_refused_with_its_source(place: Path, text: str, says: str) -> None:
    file = place / "home/.config/hpcflow/launch.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"(?s){says}") as caught:
        module.settings()
    assert str(file) in str(caught.value)


def test_a_file_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place / "home/.config/hpcflow/launch.toml"
    file.write_text('qos = "x"')
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="may be written by everybody: chmod o-w"):
        module.settings()
    file.chmod(0o600)
    assert module.settings().qos == "x"
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        os.chown(file, 4321, -1)
    with pytest.raises(ConfigError, match="belongs to user"):
        module.settings()


def test_a_working_directory_that_is_gone_is_no_project(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "project" / "sub").rmdir()
    assert module.settings().poll_s == module.recent_settings().poll_s == 30.0
    monkeypatch.chdir(place)
