"""`hpcflow completion SHELL`: the script that makes a shell complete commands and options. Prints only; nothing of the user's is changed."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a shell's completion script: `hpcflow completion bash >~/.local/share/bash-completion/completions/hpcflow`.

    Parameters
    ----------
    shell
        bash, zsh (a file `_hpcflow` in a directory of $fpath) or fish (~/.config/fish/completions/hpcflow.fish).
    """
    from hpcflow.cli.app import build_app

    print(build_app().generate_completion(shell=shell))
    return 0
