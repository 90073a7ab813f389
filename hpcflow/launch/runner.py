"""Runs a Python task in its job: build the arguments, call the function, keep what it returns. One file of the standard library alone, which travels
with the attempt: the job needs Python and the user's modules, not hpcflow.

    python runner.py ATTEMPT_DIRECTORY

Invariant: it calls what `call.json` of its own private directory names and nothing else; a target is the very object of its path (`__module__` and
`__qualname__` agree); a pickled function is loaded only when its hash is the one that was written at submission. Rank 0 keeps the result.

| returned | kept as |
|---|---|
| None, text, numbers, lists and mappings of them | result.json |
| a NumPy array | result.npy |
| an Arrow table, a Polars or pandas table | result.arrow |
| anything else | nothing; a note says so |
"""

import base64
import datetime
import decimal
import fractions
import functools
import hashlib
import importlib
import importlib.util
import json
import math
import os
import pathlib
import platform
import stat
import subprocess
import sys
import traceback
import uuid
from typing import Any

MAIN = "hpcflow_main"
"""The name under which a driver script is imported here: its `if __name__ == "__main__"` does not run."""

_SCALARS: dict[str, Any] = {
    "_bytes_": lambda text: base64.b64decode(text, validate=True),
    "_path_": pathlib.Path,
    "_datetime_": datetime.datetime.fromisoformat,
    "_date_": datetime.date.fromisoformat,
    "_time_": datetime.time.fromisoformat,
    "_decimal_": decimal.Decimal,
    "_fraction_": fractions.Fraction,
    "_uuid_": uuid.UUID,
    "_float_": lambda text: {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[text],
    "_timedelta_": lambda parts: datetime.timedelta(*parts),
    "_range_": lambda parts: range(*parts),
}


class Builder:
    """Plain data -> arguments; nested calls are made from the leaves up."""

    def __init__(self, main: str | None) -> None:
        self.main = main
        self.shared: dict[Any, Any] = {}

    def value(self, plain: Any) -> Any:
        if isinstance(plain, list):
            return [self.value(part) for part in plain]
        if not isinstance(plain, dict):
            return plain
        if "_target_" in plain:
            return self.node(plain)
        tag = next((key for key in plain if len(plain) == 1 and key.startswith("_") and key.endswith("_")), None)
        if tag is None:
            return {key: self.value(part) for key, part in plain.items()}
        return self.tagged(tag, plain[tag])

    def tagged(self, tag: str, plain: Any) -> Any:
        if tag == "_same_":
            return self.shared[plain]
        if tag == "_ref_":
            return self.resolve(plain)
        if tag == "_secret_":
            return reveal(plain)
        if tag == "_secret_reference_":  # for a parameter annotated Secret, so its module imports hpcflow
            ((kind, where),) = plain.items()
            return getattr(importlib.import_module("hpcflow.launch.config.secret").Secret, kind)(where)
        if tag == "_dict_":
            return {self.value(key): self.value(part) for key, part in plain}
        if tag in ("_tuple_", "_set_", "_frozenset_"):
            return {"_tuple_": tuple, "_set_": set, "_frozenset_": frozenset}[tag](self.value(part) for part in plain)
        if tag == "_complex_":
            return complex(*(self.value(part) for part in plain))
        if tag not in _SCALARS:
            raise ValueError(f"call.json holds {tag}, which this runner does not know: it was written by a newer hpcflow")
        return _SCALARS[tag](plain)

    def node(self, plain: dict[str, Any]) -> Any:
        target = self.resolve(plain["_target_"])
        arguments = {name: self.value(part) for name, part in plain.items() if not (name.startswith("_") and name.endswith("_"))}
        positional = arguments.pop("*", [])
        made = functools.partial(target, *positional, **arguments) if plain.get("_partial_") else target(*positional, **arguments)
        if "_id_" in plain:
            self.shared[plain["_id_"]] = made
        return made

    def resolve(self, path: str) -> Any:
        """The object of `module:qualified.name`; ImportError when it is another one's alias."""
        module_name, _, name = path.partition(":")
        module = load_main(self.main) if module_name in ("__main__", MAIN) else importlib.import_module(module_name)
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part)
        owner, qualified = getattr(found, "__module__", module_name), getattr(found, "__qualname__", name)
        if (owner, qualified) != (module.__name__, name) and not hasattr(found, "name"):
            raise ImportError(f"{path} is {owner}:{qualified}: name the object where it is defined")
        return found


def load_main(path: str | None) -> Any:
    """The driver script as a module of another name."""
    if MAIN in sys.modules:
        return sys.modules[MAIN]
    if path is None:
        raise ImportError("the task's function stood in a program without a file: put it into a module, or submit it with by_value=True")
    spec = importlib.util.spec_from_file_location(MAIN, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MAIN] = module
    sys.path.insert(0, os.path.dirname(path))
    spec.loader.exec_module(module)
    return module


def reveal(source: dict[str, Any]) -> str:
    """A secret's value."""
    ((kind, where),) = source.items()
    if kind == "variable":
        if where not in os.environ:
            raise LookupError(f"the secret variable {where} is not set in this job")
        return os.environ[where]
    if kind == "file":
        path = os.path.expanduser(where)
        about = os.stat(path)
        if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise PermissionError(f"the secret file {path} must be yours and closed to others: chmod 600 {path}")
        with open(path, encoding="utf-8") as file:
            return file.read().rstrip("\n")
    return subprocess.run(where, check=True, capture_output=True, text=True, timeout=60).stdout.partition("\n")[0]


def function_of(document: dict[str, Any], directory: str) -> Any:
    """What to call."""
    pickled = document.get("pickle")
    if pickled is None:
        code, inside = os.environ.get("HPCFLOW_CODE"), document.get("main_in_code")
        main = os.path.join(code, inside) if code is not None and inside is not None else document.get("main")
        return Builder(main).value(document["call"])
    with open(os.path.join(directory, pickled["file"]), "rb") as file:
        blob = file.read()
    if hashlib.sha256(blob).hexdigest() != pickled["sha256"]:
        raise ValueError("the pickled function is not the one that was submitted: its hash differs")
    import pickle  # the hash has been checked, and the file is private to this user

    return pickle.loads(blob)


def rank() -> int:
    """Of this process among the job's ranks."""
    for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def keep(result: Any, directory: str) -> None:
    """Write what the function returned, under a name that says what it is; renamed into place."""
    kind = type(result).__module__.partition(".")[0]
    if kind == "numpy" and hasattr(result, "dtype") and not getattr(result.dtype, "hasobject", True):
        numpy = importlib.import_module("numpy")

        def write_array(path: str) -> None:
            with open(path, "wb") as file:
                numpy.lib.format.write_array(file, numpy.asarray(result), allow_pickle=False)

        _replace(directory, "result.npy", write_array)
    elif kind == "polars" and hasattr(result, "write_ipc"):
        _replace(directory, "result.arrow", result.write_ipc)
    elif kind in ("pyarrow", "pandas") and hasattr(result, "columns"):
        pyarrow = importlib.import_module("pyarrow")

        table = pyarrow.Table.from_pandas(result) if kind == "pandas" else result

        def write(path: str) -> None:
            with pyarrow.OSFile(path, "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)

        _replace(directory, "result.arrow", write)
    else:
        try:
            text = json.dumps(result, allow_nan=True)
        except (TypeError, ValueError):
            print(f"hpcflow: the task returned {type(result).__name__}, which is no JSON, NumPy or Arrow: not kept", file=sys.stderr)
            return
        _replace(directory, "result.json", lambda path: pathlib.Path(path).write_text(text))


def _replace(directory: str, name: str, write: Any) -> None:
    draft = os.path.join(directory, f".{name}")
    write(draft)
    os.chmod(draft, 0o600)
    os.replace(draft, os.path.join(directory, name))


def note_metadata(directory: str) -> None:
    """Add what Python knows to what the job's shell has written down: for whoever wants to know later why a run differed."""
    try:
        with open(os.path.join(directory, "metadata.json"), encoding="utf-8", errors="replace") as file:
            facts = json.load(file)
    except (OSError, ValueError):
        facts = {"host": platform.node(), "system": platform.platform()}
    facts["python"] = sys.version
    facts["executable"] = sys.executable
    facts["path"] = sys.path
    facts["packages"] = packages()
    _replace(directory, "metadata.json", lambda path: pathlib.Path(path).write_text(json.dumps(facts, indent=1)))


def packages() -> list[str]:
    """name==version of what is installed, by the names of the folders that installers leave: nothing is read."""
    found = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for stem, _, kind in (name.rpartition(".") for name in names):
            parts = stem.split("-")
            if kind in ("dist-info", "egg-info") and len(parts) > 1:
                found.add(f"{parts[0].replace('_', '-')}=={parts[1]}")
    return sorted(found)


def note_mpi(directory: str) -> None:
    """Which MPI the task has used, when it has."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None:
        version = mpi.Get_library_version().partition("\0")[0].strip()
        _replace(directory, "mpi.txt", lambda path: pathlib.Path(path).write_text(f"{version}\n"))


def set_path(code: str | None, submitted: list[list[str]]) -> None:
    """The packaged code and the folders within it come first on Python's path, else the working directory and those of the submitting program."""
    if code is not None:
        submitted = [[os.path.normpath(os.path.join(code, inside)), inside, place] for _, inside, place in submitted if inside not in ("", ".")]
    own = [code or os.getcwd(), *(folder for folder, _, place in submitted if place == "first")]
    sys.path[0:1] = list(dict.fromkeys(own))
    sys.path.extend(folder for folder, _, place in submitted if place == "last" and folder not in sys.path)


def main(words: list[str]) -> int:
    """Exit status of the task: 0, the program's own, or 1 after an exception (its traceback is in the log)."""
    directory = os.environ.get("HPCFLOW_ATTEMPT_DIRECTORY") or words[1]
    with open(os.path.join(words[1], "call.json"), encoding="utf-8") as file:
        document = json.load(file)
    set_path(os.environ.get("HPCFLOW_CODE"), document.get("path", []))
    first = rank() == 0
    if first:
        note_metadata(directory)
    try:
        function = function_of(document, words[1])
        named = getattr(function, "func", function)
        module = getattr(named, "__module__", "")
        source = "a pickled function" if "pickle" in document else getattr(sys.modules.get(module), "__file__", None) or module
        if first:
            print(f"hpcflow: calls {getattr(named, '__qualname__', named)} of {source}", file=sys.stderr, flush=True)
        result = function()
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        sys.stdout.flush()
        if "mpi4py.MPI" in sys.modules:
            os._exit(1)  # MPI_Finalize would wait for ranks that wait for this one
        return 1
    if first:
        keep(result, directory)
        note_mpi(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
