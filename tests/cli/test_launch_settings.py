"""`hpcflow launch settings`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcflow.cli.app import main


def test_settings_are_shown_with_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["launch", "settings"])
    assert ended.value.code == 0 and f"home = '{tmp_path}'   (variable HPCFLOW_LAUNCH_HOME)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["launch", "settings", "--json"])
    assert json.loads(capsys.readouterr().out)["poll_s"]["value"] == 30.0
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOMME", "x")
    with pytest.raises(SystemExit) as ended:
        main(["launch", "settings"])
    assert ended.value.code == 2 and "did you mean 'home'" in capsys.readouterr().err
