"""The most frequent words of a folder of text files, one row a line in, one row a word out.

    python examples/word_count.py docs/*.md
    hpcflow run examples/word_count.py -n 3 -- docs/*.md --top 20

Everything here is a Polars expression: nothing is evaluated in Python, and only counted words travel between the workers (`explain` shows the
`partial_group_by` in front of the shuffle).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

import hpcflow as hf


def count_words(lines: hf.Dataset) -> hf.Dataset:
    """Columns word (String) and n (UInt32), most frequent first, words of one count in their own order."""
    words = lines.select(pl.col("text").str.to_lowercase().str.extract_all(r"\p{L}+").alias("word")).explode("word")
    return words.drop_nulls().group_by("word").agg(pl.len().alias("n")).sort("n", "word", descending=[True, False])


def main() -> None:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=[str(here / "docs")], help="text files, globs or directories; without any the docs")
    parser.add_argument("--top", type=int, default=10, help="how many words to print")
    options = parser.parse_args()

    with hf.Session() as s:
        counts = count_words(s.read_text(options.files if len(options.files) > 1 else options.files[0])).cache()
        print(f"{counts.count():,} different words, {counts.select(pl.col('n').sum()).collect().item():,} in all")
        with pl.Config(tbl_rows=options.top, tbl_hide_dataframe_shape=True):
            print(counts.head(options.top).collect())


if __name__ == "__main__":
    main()
