// The wire format: what a frame looks like. docs/frame_format.md draws it.
//
//   HfFrameHeader | uint64 row offset of each partition, and the end | HfNodeRecord of each column and nested column, in pre-order | pad | buffers,
//   each at 64 bytes | pad to 64
//
// Everything is little endian. The metadata (all before the first buffer) always carries a checksum; the buffers carry one when flag
// HF_FRAME_BODY_CHECKSUM is set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hf_table.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little endian and are used in place: big-endian machines are not supported"
#endif

constexpr uint32_t HF_FRAME_MAGIC = 0x4D524648;  // "HFRM"
constexpr uint16_t HF_FRAME_VERSION = 1;
constexpr uint32_t HF_FRAME_BODY_CHECKSUM = 1;
constexpr uint64_t HF_FRAME_ALIGN = 64;
constexpr uint32_t HF_WINDOW_BITS =
    30;  // a view's data buffer is read through windows that start every 2^30 bytes: view.buffer is the window, view.offset < 2^30

struct HfFrameHeader {
    uint32_t magic;
    uint16_t version;
    uint16_t header_bytes;  // sizeof(HfFrameHeader)
    uint64_t step;
    uint32_t source_task;
    uint32_t attempt;
    uint32_t sequence;
    uint32_t columns;  // top-level columns
    uint64_t rows;
    uint32_t first_partition;
    uint32_t partitions;
    uint32_t flags;
    uint32_t nodes;              // node records
    uint64_t total_bytes;        // a multiple of 64
    uint64_t body_offset;        // of the first buffer, a multiple of 64
    uint64_t fingerprint;        // of the schema (names, types, Enum categories)
    uint64_t metadata_checksum;  // over [0, body_offset) with this field 0
    uint64_t body_checksum;      // over [body_offset, total_bytes), or 0
    uint8_t reserved[32];        // 0
};
static_assert(sizeof(HfFrameHeader) == 128, "the header is part of the wire format");
static_assert(offsetof(HfFrameHeader, rows) == 32 && offsetof(HfFrameHeader, total_bytes) == 56 && offsetof(HfFrameHeader, metadata_checksum) == 80,
              "the header is part of the wire format");

struct HfNodeRecord {
    uint8_t kind;  // HfKind
    uint8_t has_validity;
    uint16_t reserved;   // 0
    uint32_t width;      // of fixed values, bytes
    uint64_t list_size;  // of arrays
    uint64_t rows;
    uint64_t validity_offset;  // bytes from the frame's start; 0 when there is none
    uint64_t values_offset;    // values, bits, views or offsets; 0 when there is none
    uint64_t data_offset;      // of a view column's data; 0 when there is none
    uint64_t data_bytes;
};
static_assert(sizeof(HfNodeRecord) == 56, "node records are part of the wire format");

inline uint64_t hf_align(uint64_t bytes) { return (bytes + HF_FRAME_ALIGN - 1) / HF_FRAME_ALIGN * HF_FRAME_ALIGN; }
inline uint64_t hf_bitmap_bytes(uint64_t rows) { return rows / 8 + (rows % 8 != 0); }

uint64_t hf_checksum(const uint8_t* bytes, uint64_t size);
void hf_frame_seal(uint8_t* frame, bool body);  // computes the checksums of a complete frame into its header

// Bytes of a node's values buffer (0 for nulls, arrays and structs).
inline uint64_t hf_values_bytes(const HfNodeRecord& node) {
    switch (static_cast<HfKind>(node.kind)) {
        case HfKind::boolean:
            return hf_bitmap_bytes(node.rows);
        case HfKind::fixed:
            return node.rows * node.width;
        case HfKind::view:
            return node.rows * sizeof(HfView);
        case HfKind::list:
            return (node.rows + 1) * 8;
        case HfKind::list32:
            return (node.rows + 1) * 4;
        default:
            return 0;
    }
}
