// Column types and column views: what every kernel takes.
//
// HfType is the shape of a column, parsed once from an ArrowSchema; HfColumn is a view of one column's buffers. Views own nothing: the ArrowArray
// they were made from must outlive them. Offsets of sliced arrays are folded in: row i of a column is at element `offset + i` of its buffers, and
// children are cut to just the rows their parent refers to.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hf_arrow.h"
#include "hf_status.h"

enum class HfKind : uint8_t {
    null = 0,       // no buffers
    boolean = 1,    // one bit a row
    fixed = 2,      // `width` bytes a row: 1, 2, 4, 8 or 16
    view = 3,       // strings and binary: 16-byte views and data
    list = 4,       // int64 offsets, one child
    list32 = 5,     // int32 offsets, one child (Polars' Map)
    array = 6,      // `list_size` child rows a row
    structure = 7,  // children of equal length
};

enum class HfLogic : uint8_t { none, signed_integer, unsigned_integer, floating, decimal, text, binary };

struct HfType {
    HfKind kind = HfKind::null;  // on the wire: a categorical is a view, an Enum is fixed (its codes)
    HfLogic logic = HfLogic::none;
    uint32_t width = 0;       // bytes of a fixed value; 0 otherwise
    uint32_t scale = 0;       // of a decimal
    uint64_t list_size = 0;   // of an array
    uint32_t code_width = 0;  // of a dictionary column (categorical or Enum): bytes of its codes in the input; 0 for others
    bool is_enum = false;     // a dictionary column that travels as codes
    bool nullable = true;
    int64_t flags = HF_ARROW_FLAG_NULLABLE;
    std::string format, name, metadata;
    std::unique_ptr<HfType> dictionary;  // of an Enum: its values' type
    std::vector<HfType> children;
};

struct HfColumn {
    const HfType* type = nullptr;
    int64_t length = 0;
    int64_t offset = 0;
    int64_t null_count = 0;
    const uint8_t* validity = nullptr;     // null when no row is null
    const void* values = nullptr;          // values, bits, views or offsets; dictionary columns: codes
    const void* const* data = nullptr;     // view columns: the data buffers
    int64_t first_child = 0;               // list columns: the offset that is child row 0 here
    std::unique_ptr<HfColumn> dictionary;  // dictionary columns: the values, a view column
    std::vector<HfColumn> children;
};

struct HfSchema {  // a root struct type and, for Enums, the dictionaries of an exported empty table
    HfType root;
    uint64_t fingerprint = 0;  // equal for equal wire layouts
    uint32_t nodes = 0;        // types in the tree without the root
    bool has_categorical = false;
    bool has_enum = false;
    ArrowArray empty{};  // owned; its dictionaries are lent to unpacked frames
    std::atomic<int64_t> references{1};
    ~HfSchema();
};
void hf_schema_retain(HfSchema* schema);
void hf_schema_release(HfSchema* schema);  // from any thread; the last reference deletes

struct HfView {  // Arrow's string view
    uint32_t length;
    union {
        uint8_t inlined[12];
        struct {
            uint32_t prefix;
            uint32_t buffer;
            uint32_t offset;
        } outside;
    };
};
static_assert(sizeof(HfView) == 16, "Arrow string views are 16 bytes");

int32_t hf_schema_from_arrow(const ArrowSchema* schema, HfSchema* out);
int32_t hf_columns_from_arrow(const HfSchema* schema, const ArrowArray* array, HfColumn* out);  // out: the root struct

inline bool hf_is_valid(const uint8_t* bits, int64_t i) { return (bits[i >> 3] >> (i & 7)) & 1; }

inline const uint8_t* hf_view_bytes(const HfView& view, const void* const* data) {
    return view.length <= 12 ? view.inlined : static_cast<const uint8_t*>(data[view.outside.buffer]) + view.outside.offset;
}

inline uint64_t hf_code_at(const void* codes, uint32_t width, int64_t i) {
    switch (width) {
        case 1:
            return static_cast<const uint8_t*>(codes)[i];
        case 2:
            return static_cast<const uint16_t*>(codes)[i];
        case 4:
            return static_cast<const uint32_t*>(codes)[i];
        default:
            return static_cast<const uint64_t*>(codes)[i];
    }
}
