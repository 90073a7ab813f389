"""`hpcflow explain job.py`: every action of the program prints its plan and runs nothing."""

from __future__ import annotations


def explain(script: str, *arguments: str, workers: int | None = None) -> None:
    """Print the plan of each action of a program instead of running it; a plan that was printed before is named by its number.

    Actions give empty results of the right schema, so a program that looks at its results may take another way than with data.

    Parameters
    ----------
    script
        The program, e.g. job.py.
    arguments
        Arguments of the program; those that begin with a dash stand after `--`.
    workers
        Workers to plan for.
    """
    import os
    import sys

    from hpcflow.cli.program import run_program

    os.environ["HPCFLOW_EXPLAIN_ONLY"] = "1"
    if workers is not None:
        os.environ["HPCFLOW_WORKERS"] = str(workers)
    run_program(script, arguments)
    from hpcflow.compiled import PlansOnly

    if not PlansOnly.shown:
        print(f"hpcflow explain: {script} ran no action, so there is no plan; collect(), count() or write_parquet() is one", file=sys.stderr)
