"""`python -m hpcflow job.py args` runs a program on this rank; `python -m hpcflow doctor` and the like are the command `hpcflow`.

What `hpcflow run` says to each rank:  [--bind-worker=CORES | --bind-rank=CORES]  job.py args...  |  --program=job.py:MyJob args...
"""

from __future__ import annotations

import sys


def main(words: list[str]) -> None:
    cores, master = None, True
    if words and words[0].startswith(("--bind-worker=", "--bind-rank=")):
        option, _, number = words.pop(0).partition("=")
        cores, master = int(number), option == "--bind-worker"
    program = words.pop(0).removeprefix("--program=") if words and words[0].startswith("--program=") else None
    if program is None and (not words or not words[0].endswith(".py")):
        from hpcflow.cli import main as command

        command()
        return
    if cores is not None:
        from hpcflow.cli.binding import bind_worker

        bind_worker(cores, master)
    if program is not None:
        from hpcflow.cli.target import run_target

        run_target(program, words)
        return
    from hpcflow.cli.program import run_program

    run_program(words[0], words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
