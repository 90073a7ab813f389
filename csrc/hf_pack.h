// Pack: rows are scattered straight into frames, one frame per destination, row order within a partition kept.
//
// Two calls with the caller's memory in between: a plan counts rows and bytes and fixes every frame's layout; write fills the frames. The plan views
// the caller's columns, ids and bounds, which must stay until hf_pack_free. Several plans may run on several threads.
#pragma once

#include <cstdint>

#include "hf_frame.h"
#include "hf_table.h"

struct HfPackPlan;

struct HfFrameStamp {  // what the caller wants in every header
    uint64_t step;
    uint32_t source_task;
    uint32_t attempt;
    uint32_t sequence;
    bool body_checksum;
};

// Destination d receives partitions [bounds[d], bounds[d + 1]); bounds are ascending. ids may be null: all rows then belong to partition bounds[0],
// and destinations is 1.
int32_t hf_pack_plan(const HfSchema* schema, const HfColumn* columns, const uint32_t* ids, const uint32_t* bounds, uint32_t destinations,
                     HfPackPlan** out);
uint64_t hf_pack_rows(const HfPackPlan* plan, uint32_t destination);
uint64_t hf_pack_bytes(const HfPackPlan* plan, uint32_t destination);  // size of that frame
// frames[d]: hf_pack_bytes(d) bytes, 64-byte aligned; null where the destination has no rows and no frame is wanted.
int32_t hf_pack_write(HfPackPlan* plan, const HfFrameStamp* stamp, uint8_t* const* frames);
void hf_pack_free(HfPackPlan* plan);

int32_t hf_histogram(const uint32_t* ids, int64_t rows, uint32_t partitions, uint64_t* counts);  // HF_INVALID when an id is >= partitions
