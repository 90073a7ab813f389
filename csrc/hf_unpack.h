// Unpack: a frame's buffers seen as an Arrow array, without copying. Every byte that Arrow's reader would trust is checked first.
//
// hf_frame_open checks header and metadata, hf_frame_export the rows asked for. The exported array (and each of its children) holds one reference on
// `owner`; its release callback may run on any thread and calls `owner.release(owner.object)` when the last of them is gone.
#pragma once

#include <cstdint>
#include <vector>

#include "hf_frame.h"
#include "hf_table.h"

struct HfOwner {  // what keeps the frame's bytes alive
    void* object;
    void (*release)(void*);  // called once, on any thread
};

struct HfFrame {  // an opened frame: views the caller's bytes
    const uint8_t* bytes = nullptr;
    HfFrameHeader header{};
    std::vector<uint64_t> row_offsets;  // partitions + 1
    std::vector<HfNodeRecord> nodes;
};

// HF_DAMAGED unless [bytes, bytes + size) starts with a whole frame. `check_body` also compares the body's checksum, when it has one.
int32_t hf_frame_open(const uint8_t* bytes, uint64_t size, bool check_body, HfFrame* out);
// The rows [begin, begin + rows) as a struct array of the schema. bytes must be 16-byte aligned. Takes over the owner on success only.
int32_t hf_frame_export(const HfFrame* frame, HfSchema* schema, uint64_t begin, uint64_t rows, HfOwner owner, ArrowArray* out);
int32_t hf_schema_export(HfSchema* schema, ArrowSchema* out);  // the Arrow schema of exported arrays
bool hf_is_utf8(const uint8_t* bytes, uint64_t size);
