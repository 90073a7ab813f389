// Range partitions: where a row falls among sorted splitters, as Polars sorts.
#pragma once

#include <cstdint>

#include "hf_table.h"

// ids[i] = number of splitters that sort strictly before row i, so a row equal to or before splitter j goes to a partition <= j.
// Order: key by key; numbers by value (NaN above all, -0.0 = 0.0), booleans false first, strings and binary by bytes, categoricals by string, Enums
// by code; `descending` (one byte a key) turns values around but not nulls, which `nulls_last` (one byte a key) places. Ties go by position: row i is
// at position_start + i, splitter j at splitter_positions[j], lower first. Without splitter_positions (null) equal keys all go to the same, lowest
// partition. `splitters` has the keys' types and is sorted in this very order (HF_INVALID when not).
int32_t hf_range_ids(const HfColumn* keys, const HfColumn* splitters, const uint8_t* descending, const uint8_t* nulls_last, int64_t position_start,
                     const int64_t* splitter_positions, uint32_t* ids);

// A user's compiled function fills partition ids block by block: f(rows, columns, partitions, out), where columns[k] points at the block's first
// value of column k.
typedef void (*HfUserPartition)(int64_t rows, const void* const* columns, int64_t partitions, uint32_t* out);
int32_t hf_user_ids(HfUserPartition function, const HfColumn* columns, uint32_t partitions, uint32_t* ids);
