"""Partial aggregates: for each aggregation that decomposes, what a partition computes, how partials merge and how the result is made of them.

Invariant: merge expressions turn partial columns into the same columns, so partials may be merged any number of times; merged over partitions in row
order the final expression has Polars' value and dtype. Source of the variance: Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances" (1979).

    >>> import polars as pl
    >>> book = PartialBook()
    >>> _ = mean_of(book, {"Column": "v"}, pl.Int64(), pl.Float64())
    >>> [one.meta.output_name() for one in book.partial]
    ['__p0', '__p1']
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from hpcflow.expressions.tree import Tree, from_tree, pack


class PartialBook:
    """The partial columns of one list of expressions, each kept once: `count` of `v` serves `v.mean()` and `v.var()`."""

    def __init__(self, prefix: str = "__p") -> None:
        self.partial: list[pl.Expr] = []
        self.merge: list[pl.Expr] = []
        self._prefix = prefix
        self._known: dict[tuple[str, bytes], list[str]] = {}

    def copy(self) -> PartialBook:
        """A book that may be thrown away when an expression turns out not to decompose."""
        other = PartialBook(self._prefix)
        other.partial, other.merge, other._known = list(self.partial), list(self.merge), dict(self._known)
        return other

    def add(self, what: str, of: Tree, partial: Callable[[pl.Expr], list[pl.Expr]], merge: Callable[[list[pl.Expr]], list[pl.Expr]]) -> list[pl.Expr]:
        """Columns that hold `what` of `of`; `partial` and `merge` are called when they are new."""
        key = (what, pack(of))
        names = self._known.get(key)
        if names is None:
            parts = partial(from_tree(of))
            names = [f"{self._prefix}{len(self.partial) + index}" for index in range(len(parts))]
            merged = merge([pl.col(name) for name in names])
            self.partial += [part.alias(name) for part, name in zip(parts, names, strict=True)]
            self.merge += [part.alias(name) for part, name in zip(merged, names, strict=True)]
            self._known[key] = names
        return [pl.col(name) for name in names]


Final = Callable[[PartialBook, Tree, pl.DataType, pl.DataType], "pl.Expr | None"]
"""(book, input tree, input dtype, output dtype) -> the final expression, or None when this dtype does not decompose."""


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def _simple(book: PartialBook, what: str, of: Tree, function: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """An aggregation that merges by itself: max of max."""
    return book.add(what, of, lambda x: [function(x)], lambda columns: [function(columns[0])])[0]


def _counted(book: PartialBook, what: str, of: Tree, function: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """A number of rows, in u64."""
    return book.add(what, of, lambda x: [function(x).cast(pl.UInt64)], lambda columns: [columns[0].sum()])[0]


def sum_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
    """Integers wrap as in Polars (sums modulo 2^n merge modulo 2^n); booleans are counted in u64."""
    if dtype == pl.Boolean:
        return _counted(book, "true", of, lambda x: x.sum()).cast(output)
    if dtype.is_numeric() or isinstance(dtype, pl.Duration):
        return _simple(book, "sum", of, lambda x: x.sum()).cast(output)
    return None


def count_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr:
    """Rows that are not null; an error above the index type."""
    return _counted(book, "count", of, lambda x: x.count()).cast(output)


def length_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr:
    """All rows; an error above the index type."""
    return _counted(book, "len", of, lambda x: x.len()).cast(output)


def null_count_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr:
    """Null rows; an error above the index type."""
    return _counted(book, "null_count", of, lambda x: x.null_count()).cast(output)


def mean_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
    """(f64 sum, u64 count); times are averaged as their physical value and cut to the tick, as in Polars."""
    temporal = dtype.is_temporal()
    if not (temporal or _is_number(dtype)):
        return None

    def total(x: pl.Expr) -> pl.Expr:
        if dtype == pl.Date:
            x = x.cast(pl.Datetime("us"))
        return (x.to_physical() if temporal else x).cast(pl.Float64).sum()

    if dtype == pl.Float64:  # the same column that sum() needs
        sums = _simple(book, "sum", of, lambda x: x.sum())
    else:
        sums = book.add("f64 sum", of, lambda x: [total(x)], lambda columns: [columns[0].sum()])[0]
    count = _counted(book, "count", of, lambda x: x.count())
    mean = pl.when(count > 0).then(sums / count)
    return mean.cast(pl.Int64).cast(output) if temporal else mean.cast(output)


def _moments(book: PartialBook, of: Tree) -> tuple[pl.Expr, pl.Expr]:
    """`(n, M2)` by Chan's formula; the middle column is the mean."""

    def partial(x: pl.Expr) -> list[pl.Expr]:
        x = x.cast(pl.Float64)
        return [x.count().cast(pl.UInt64), x.mean(), (x.var(ddof=0) * x.count()).fill_null(0.0)]

    def merge(columns: list[pl.Expr]) -> list[pl.Expr]:
        n, mean, m2 = columns
        weight = n.cast(pl.Float64)
        pivot = mean.first(ignore_nulls=True)  # means are summed as differences to one of them: equal means stay equal
        merged = pivot + (weight * (mean - pivot)).sum() / weight.sum()
        return [n.sum(), merged, m2.sum() + (weight * (mean - merged) ** 2).sum()]

    n, _, m2 = book.add("moments", of, partial, merge)
    return n, m2


def variance_of(ddof: int) -> Final:
    """Variance with `ddof`; null for `n <= ddof`."""

    def final(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
        if not _is_number(dtype):
            return None
        n, m2 = _moments(book, of)
        return pl.when(n > ddof).then(m2 / (n.cast(pl.Float64) - ddof)).cast(output)

    return final


def deviation_of(ddof: int) -> Final:
    """Standard deviation with `ddof`."""
    variance = variance_of(ddof)

    def final(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
        square = variance(book, of, dtype, pl.Float64())
        return None if square is None else square.sqrt().cast(output)

    return final


def extreme_of(which: str, propagate_nans: bool) -> Final:
    """min, max, nan_min, nan_max of everything Polars orders; Categorical by its text."""
    name = f"nan_{which}" if propagate_nans else which

    def final(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
        ordered = _is_number(dtype) or dtype.is_temporal() or isinstance(dtype, (pl.String, pl.Binary, pl.Categorical, pl.Enum))
        return _simple(book, name, of, lambda x: getattr(x, name)()) if ordered else None

    return final


def end_of(which: str) -> Final:
    """First or last row, null or not: partials without rows do not count."""

    def final(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
        def end(x: pl.Expr) -> pl.Expr:
            return x.first() if which == "first" else x.last()

        return book.add(which, of, lambda x: [end(x), x.len() > 0], lambda columns: [end(columns[0].filter(columns[1])), columns[1].any()])[0]

    return final


def first_non_null_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr:
    """First value that is not null."""
    return _simple(book, "first value", of, lambda x: x.first(ignore_nulls=True))


def last_non_null_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr:
    """Last value that is not null."""
    return _simple(book, "last value", of, lambda x: x.last(ignore_nulls=True))


def truth_of(which: str, ignore_nulls: bool) -> Final:
    """any, all; with `ignore_nulls=False` by Kleene logic, whose partials (true, false, null) merge by the same rule."""

    def final(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
        if not _is_number(dtype):
            return None
        return _simple(
            book, f"{which} {ignore_nulls}", of, lambda x: x.any(ignore_nulls=ignore_nulls) if which == "any" else x.all(ignore_nulls=ignore_nulls)
        )

    return final


def has_nulls_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr:
    """Any null."""
    return book.add("has nulls", of, lambda x: [x.has_nulls()], lambda columns: [columns[0].any()])[0]


def product_of(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
    """Product of integers of up to 64 bits (wrapping) and floats."""
    if dtype.is_float() or (dtype.is_integer() and not isinstance(dtype, (pl.Int128, pl.UInt128))):
        return _simple(book, "product", of, lambda x: x.product()).cast(output)
    return None


def bitwise_of(which: str) -> Final:
    """Bitwise and, or, xor of integers."""
    name = f"bitwise_{which.lower()}"

    def final(book: PartialBook, of: Tree, dtype: pl.DataType, output: pl.DataType) -> pl.Expr | None:
        return _simple(book, name, of, lambda x: getattr(x, name)()) if dtype.is_integer() else None

    return final
