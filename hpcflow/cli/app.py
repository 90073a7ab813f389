"""The command line: a list of commands, each loaded when it is called, and one-line errors with the right exit status."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError

USAGE_ERROR = 2
FAILURE = 1


def build_app() -> App:
    import hpcflow

    app = App(name="hpcflow", help="Polars-style programs on MPI.", version=hpcflow.__version__, result_action="return_value")
    app.command("hpcflow.cli.run:run", name="run", help="Run a program on one master and N-1 workers.")
    app.command("hpcflow.cli.doctor:doctor", name="doctor", help="Say what is wrong with this installation and machine, and how to mend it.")
    app.command("hpcflow.cli.explain:explain", name="explain", help="Print the plans of a program instead of running it.")
    app.command("hpcflow.cli.bench:bench", name="bench", help="Measure the ranks and the wires between them.")
    app.command("hpcflow.cli.launch:app", name="launch", help="Submit, follow and repeat tracked jobs.")
    app.command("hpcflow.cli.completion:completion", name="completion", help="Print the completion script of a shell.")
    return app


def main(words: list[str] | None = None) -> None:
    """Run one command and end with its exit status: 0, 1 for a failure, 2 for a wrong command line, else the program's own."""
    from hpcflow.errors import ConfigError, HpcflowError, LaunchError
    from hpcflow.launch.extras import print_anything

    print_anything()
    if sys.platform == "win32":
        _end(FAILURE, "hpcflow runs on Linux and macOS; on Windows run it within WSL (`wsl --install` in a terminal of Windows)")
    try:
        status = build_app()(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _end(USAGE_ERROR, f"{_one_line(str(error)).rstrip('.')}{_hint(str(error), sys.argv[1:] if words is None else words)}; see `hpcflow --help`")
    except (ConfigError, LaunchError) as error:
        _end(USAGE_ERROR if isinstance(error, ConfigError) else FAILURE, " ".join(line.strip() for line in str(error).splitlines()))
    except (HpcflowError, ImportError) as error:
        _end(FAILURE, str(error))
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nothing is left to say
        sys.exit(FAILURE)
    sys.exit(status if isinstance(status, int) else 0)


def _hint(error: str, words: list[str]) -> str:
    """An option that is the program's own stands behind `--`."""
    takes_a_program = {"run", "submit", "explain"} & set(words[:2])
    return "; options of the program itself stand behind --" if "Unknown option" in error and takes_a_program and "--" not in words else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _end(status: int, text: str) -> None:
    print(f"hpcflow: error: {text}", file=sys.stderr)
    sys.exit(status)
