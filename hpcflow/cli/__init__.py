"""The one command `hpcflow`: one file a command, each importing its layer inside its function."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script; ends the process with the command's exit status."""
    from hpcflow.cli.app import main as run_app

    run_app()
