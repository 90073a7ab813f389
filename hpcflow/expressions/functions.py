"""What each Polars function does with rows: the allow-list of classification.

A function that is not here is refused, never assumed to be row-wise; a test runs every public expression method whole against partitioned, so a
function enters this table with a sample. Names are the ones of `tree.function_name`: `Abs`, `StringExpr.Contains`.

    >>> RULES["Shift"].kind
    <Kind.ORDER_DEPENDENT: 'order-dependent'>
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """How an expression depends on rows; see `Classification`."""

    ROW_WISE = "row-wise"
    """Row i of the result depends on row i alone: may run on any partition."""
    AGGREGATION = "aggregation"
    """Needs a scalar made of all rows (`v.mean()`, and also `v - v.mean()`)."""
    WINDOW = "window"
    """Needs all rows of a key in one place (`.over("k")`)."""
    LENGTH_CHANGING = "length-changing"
    """Gives another number of rows (`unique`, `filter`, `explode`): must stand alone."""
    ORDER_DEPENDENT = "order-dependent"
    """Row i depends on other rows or on their order (`shift`, `cum_sum`, `rank`)."""
    UNSUPPORTED = "unsupported"
    """Not known to be right on partitions."""


@dataclass(frozen=True)
class Rule:
    """One function: `kind` when its inputs are row-wise, and `reason` for error messages. `literal_inputs`: positions that must be literals (they
    are read as a whole)."""

    kind: Kind
    reason: str = ""
    literal_inputs: tuple[int, ...] = ()


RULES: dict[str, Rule] = {}


def _add(kind: Kind, names: str, reason: str = "", prefix: str = "", literal_inputs: tuple[int, ...] = ()) -> None:
    for name in names.split():
        RULES[prefix + name] = Rule(kind, reason, literal_inputs)


_ROW, _AGG, _LEN, _ORD, _NO = Kind.ROW_WISE, Kind.AGGREGATION, Kind.LENGTH_CHANGING, Kind.ORDER_DEPENDENT, Kind.UNSUPPORTED

_add(
    _ROW,
    "Abs Negate Ceil Floor Round RoundSF Truncate Sign Clip Exp Log Log1p Erf Erfc Atan2 Cut FillNull Coalesce Reinterpret RepeatBy "
    "SetSortedFlag AsStruct RowEncode RowDecode",
)
_add(_ROW, "SumHorizontal MeanHorizontal MinHorizontal MaxHorizontal")
_add(_ROW, "Replace ReplaceStrict", literal_inputs=(1, 2))
_add(_ROW, "Hash ToPhysical")  # but of Categorical: see classify
_add(_ROW, "Not IsNull IsNotNull IsNan IsNotNan IsFinite IsInfinite IsBetween IsClose IsIn AnyHorizontal AllHorizontal", prefix="Boolean.")
_add(_ROW, "CountOnes CountZeros LeadingOnes LeadingZeros TrailingOnes TrailingZeros", prefix="Bitwise.")
_add(_ROW, "Sin Cos Tan Cot ArcSin ArcCos ArcTan Sinh Cosh Tanh ArcSinh ArcCosh ArcTanh Degrees Radians", prefix="Trigonometry.")
_add(_ROW, "Generic Sqrt Cbrt", prefix="Pow.")
_add(_ROW, "BusinessDayCount", prefix="Business.", literal_inputs=(2,))
_add(_ROW, "AddBusinessDay", prefix="Business.", literal_inputs=(2,))
_add(_ROW, "IsBusinessDay", prefix="Business.", literal_inputs=(1,))
_add(_ROW, "Storage To", prefix="Extension.")
_add(_ROW, "IntRanges DateRanges DatetimeRanges TimeRanges LinearSpaces", prefix="Range.")
_add(
    _ROW,
    "ConcatHorizontal Format Contains CountMatches EndsWith EscapeRegex Extract ExtractAll ExtractGroups Find Head JsonDecode "
    "JsonPathMatch LenBytes LenChars Normalize PadEnd PadStart "
    "Replace Reverse Slice Split SplitExact SplitN SplitRegex StartsWith StripChars StripCharsEnd StripCharsStart StripPrefix "
    "StripSuffix Strptime Tail ToDecimal ToInteger Lowercase "
    "Uppercase Titlecase ZFill HexDecode HexEncode Base64Decode Base64Encode",
    prefix="StringExpr.",
)
_add(_ROW, "ContainsAny ExtractMany FindMany", prefix="StringExpr.", literal_inputs=(1,))
_add(_ROW, "ReplaceMany", prefix="StringExpr.", literal_inputs=(1, 2))
_add(_ROW, "Contains StartsWith EndsWith Size Get Head Tail Slice Reinterpret HexDecode HexEncode Base64Decode Base64Encode", prefix="BinaryExpr.")
_add(
    _ROW,
    "BaseUtcOffset CastTimeUnit Century Combine ConvertTimeZone Date DatetimeFunction Day DaysInMonth DSTOffset Duration Hour "
    "IsLeapYear IsoYear Microsecond Millennium Millisecond Minute Month "
    "MonthEnd MonthStart Nanosecond OffsetBy OrdinalDay Quarter Replace ReplaceTimeZone Round Second Time TimeStamp ToString TotalDays "
    "TotalHours TotalMicroseconds "
    "TotalMilliseconds TotalMinutes TotalNanoseconds TotalSeconds Truncate Week WeekDay Year",
    prefix="TemporalExpr.",
)
_add(
    _ROW,
    "ArgMax ArgMin Concat Contains CountMatches Diff DropNulls Get Gather GatherEvery Join Length Max Mean Median Min SetOperation "
    "Shift Slice Sort Std Sum ToArray ToMap ToStruct Var",
    prefix="ListExpr.",
)
_add(
    _ROW,
    "ArgMax ArgMin Concat Contains CountMatches Dot Get Join Length Max Mean Median Min Shift Slice Sort Std Sum ToList ToStruct Var",
    prefix="ArrayExpr.",
)
_add(_ROW, "FieldByName Drop JsonEncode MapFieldNames PrefixFields RenameFields SuffixFields", prefix="StructExpr.")
_add(_ROW, "Get Keys Values Entries Length ContainsKey", prefix="MapExpr.")
_add(_ROW, "StartsWith EndsWith LenBytes LenChars Slice Physical To", prefix="Categorical.")  # Physical and To: see classify

_ONE = "it is one value of all rows"
_add(
    _AGG,
    "NullCount Product Quantile ApproxQuantile ApproxNUnique ArgMax ArgMin MinBy MaxBy Skew Kurtosis Entropy IndexOf LowerBound "
    "UpperBound Correlation",
    _ONE,
)
_add(_AGG, "Any All HasNulls IsEmpty IsSorted", _ONE, prefix="Boolean.")
_add(_AGG, "And Or Xor", _ONE, prefix="Bitwise.")
_add(_AGG, "ConcatVertical", _ONE, prefix="StringExpr.")

_add(_LEN, "DropNulls DropNans", "it drops rows")
_add(_LEN, "Unique UniqueCounts ValueCounts Mode ArgUnique RLE", "it gives a row per distinct value or bin, of all rows")
_add(_LEN, "Hist", "it gives a row per bin, of all rows", literal_inputs=(1,))
_add(_LEN, "TopK TopKBy ArgWhere GatherEvery", "it picks rows among all rows")
_add(_LEN, "Append ExtendConstant Reshape", "it changes the number of rows")
_add(_LEN, "Explode", "it gives a row per element", prefix="ArrayExpr.")

_POSITION = "it depends on the order of all rows"
_add(
    _ORD,
    "Shift ShiftAndFill Diff PctChange CumCount CumMax CumMin CumProd CumSum RollingExpr RollingExprBy EwmMean EwmMeanBy EwmStd EwmSum "
    "EwmSumBy EwmVar",
    _POSITION,
)
_add(_ORD, "Interpolate InterpolateBy PeakMax PeakMin RLEID Reverse ArgSort", _POSITION)
_add(_ORD, "Rank QCut", "it depends on the values of all rows")
_add(_ORD, "IsUnique IsDuplicated IsFirstDistinct IsLastDistinct", "it depends on the values of all rows", prefix="Boolean.")
_add(_ORD, "IntRange", "it numbers all rows; use with_row_index()", prefix="Range.")

_add(_NO, "Random", "random numbers would differ from partition to partition; use Dataset.sample(seed=)")
_add(_NO, "Sample", "random numbers would differ from partition to partition", prefix="ListExpr.")
_add(
    _NO,
    "FoldHorizontal ReduceHorizontal CumFoldHorizontal CumReduceHorizontal",
    "its Python function sees whole columns; write it with operators or sum_horizontal(), or as map_batches([...], f, is_elementwise=True)",
)
_add(_NO, "Repeat", "a column of a given length does not line up with partitions; use pl.lit(value)")
_add(_NO, "SelectFields", "the fields are not expanded; use expand() first", prefix="StructExpr.")

# Functions that expand a selector among their inputs in place (`pl.sum_horizontal(pl.all())` is one output).
EXPANDS_INPUTS = frozenset(
    [
        "AsStruct",
        "SumHorizontal",
        "MeanHorizontal",
        "MinHorizontal",
        "MaxHorizontal",
        "FoldHorizontal",
        "ReduceHorizontal",
        "CumFoldHorizontal",
        "CumReduceHorizontal",
        "Coalesce",
        "RowEncode",
        "Boolean.AnyHorizontal",
        "Boolean.AllHorizontal",
        "StringExpr.ConcatHorizontal",
        "StringExpr.Format",
        "ListExpr.Concat",
        "ArrayExpr.Concat",
    ]
)

# Aggregation nodes (`{"Agg": {name: ...}}`); each gives one value.
AGGREGATES = frozenset(
    ["Sum", "Mean", "Min", "Max", "Median", "NUnique", "First", "FirstNonNull", "Last", "LastNonNull", "Item", "Implode", "Count", "Std", "Var"]
)
