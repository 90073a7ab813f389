"""The most frequent words of a folder of text files, one row a line in, one row a word out; as dataflow, and by hand on all ranks.

    python examples/word_count.py docs/*.md
    hpcflow run examples/word_count.py -n 3 -- docs/*.md --top 20
    mpirun -n 3 python examples/word_count.py docs/*.md --by-hand

Everything here is a Polars expression: nothing is evaluated in Python, and only counted words travel between the workers. As dataflow the compiler
sees to that (`explain` shows the `partial_group_by` in front of the shuffle); by hand `keyed_reduce` does, for each piece of lines that is inserted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import polars as pl

import hpcflow as hf

WORDS = pl.col("text").str.to_lowercase().str.extract_all(r"\p{L}+").alias("word")
PIECE_ROWS = 1 << 16


def count_words(lines: hf.Dataset) -> hf.Dataset:
    """Columns word (String) and n (UInt32), most frequent first, words of one count in their own order."""
    words = lines.select(WORDS).explode("word")
    return words.drop_nulls().group_by("word").agg(pl.len().alias("n")).sort("n", "word", descending=[True, False])


class WordCount(hf.Program):
    """`count_words` by hand: every rank reads its share of the lines, and gets a range of the sorted counts. Rank 0 returns the first ones."""

    def execute(self, ctx: Any) -> tuple[int, int, pl.DataFrame] | None:
        options = parse(ctx.arguments)
        lines = ctx.read_text(sources(options.files))
        with ctx.open_keyed_reduce({"word": pl.String}, "word", pl.len().alias("n")) as counter:
            for start in range(0, lines.height, PIECE_ROWS):  # pieces are counted and sent while the next ones are cut into words
                counter.insert(lines.slice(start, PIECE_ROWS).select(WORDS).explode("word").drop_nulls())
            counts = counter.result()
        mine = ctx.sort(counts, ["n", "word"], descending=[True, False])
        totals = ctx.allreduce(mine, [pl.len().alias("words"), pl.col("n").sum().alias("in all")])
        top = ctx.gather(mine.head(options.top))  # rank 0's rows come first
        return None if top is None else (*totals.row(0), top.head(options.top))


def sources(files: list[str]) -> Any:
    return files if len(files) > 1 else files[0]


def parse(arguments: Any = None) -> argparse.Namespace:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=[str(here / "docs" / "*.md")], help="text files, globs or directories; without any the docs")
    parser.add_argument("--top", type=int, default=10, help="how many words to print")
    parser.add_argument("--by-hand", action="store_true", help="as a program of collective calls, not as dataflow in a session")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    if options.by_hand:
        result = WordCount().run()
    else:
        with hf.Session() as s:
            counts = count_words(s.read_text(sources(options.files))).cache()
            result = counts.count(), counts.select(pl.col("n").sum()).collect().item(), counts.head(options.top).collect()
    if result is not None:
        words, in_all, top = result
        print(f"{words:,} different words, {in_all:,} in all")
        with pl.Config(tbl_rows=options.top, tbl_hide_dataframe_shape=True):
            print(top)


if __name__ == "__main__":
    main()
