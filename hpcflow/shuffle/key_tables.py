"""Key columns as the kernels take them: row-wise expressions as columns "0", "1", ...

key_table(pl.DataFrame({"k": [1, 2]}), ["k", pl.col("k") % 2])     # columns "0" and "1"
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def key_table(df: pl.DataFrame, keys: Sequence[str | pl.Expr]) -> pl.DataFrame:
    """Keys as columns "0", "1", ... of `df.height` rows; plain columns are not copied."""
    table = df.select((pl.col(key) if isinstance(key, str) else key).alias(str(i)) for i, key in enumerate(keys))
    if table.height == df.height:
        return table
    return pl.DataFrame([column.new_from_index(0, df.height) for column in table.get_columns()])  # constants alone are one row


def sort_key_table(df: pl.DataFrame, keys: Sequence[str | pl.Expr]) -> pl.DataFrame:
    """`key_table` with the types that do not compare bytewise or numerically replaced by ones that do and sort alike."""
    table = key_table(df, keys)
    changes = []
    for name, dtype in table.schema.items():
        if isinstance(dtype, pl.Categorical):
            changes.append(pl.col(name).cast(pl.String))
        elif isinstance(dtype, pl.Enum):
            changes.append(pl.col(name).to_physical())
    return table.with_columns(changes) if changes else table
