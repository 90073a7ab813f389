"""Shell completion: the scripts are made of the commands, and bash completes by the one it gets."""

import shutil
import subprocess

import pytest

from hpcflow.cli.app import main


def script(shell, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["completion", shell])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_with_commands_and_their_options(shell, capsys):
    text = script(shell, capsys)
    assert all(word in text for word in ("launch", "doctor", "cancel", "failed-only", "json"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_and_options_of_launch(capsys, tmp_path):
    (tmp_path / "hpcflow.bash").write_text(script("bash", capsys))
    ask = 'source "$1"; COMP_WORDS=(hpcflow launch "$2"); COMP_CWORD=2; _hpcflow; echo "${COMPREPLY[@]}"'
    found = subprocess.run(["bash", "--norc", "-c", ask, "-", str(tmp_path / "hpcflow.bash"), "re"], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["rerun", "resume"]
