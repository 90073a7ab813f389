"""`python -m hpcflow job.py args` runs a program on this rank; `python -m hpcflow doctor` and the like are the command `hpcflow`."""

from __future__ import annotations

import sys


def main(words: list[str]) -> None:
    cores = None
    if words and words[0].startswith("--bind-worker="):  # what `hpcflow run` says to each rank
        cores = int(words.pop(0).split("=")[1])
    if not words or not words[0].endswith(".py"):
        from hpcflow.cli import main as command

        command()
        return
    if cores is not None:
        from hpcflow.cli.binding import bind_worker

        bind_worker(cores)
    from hpcflow.cli.program import run_program

    run_program(words[0], words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
