"""The compiled kernels: hash rows, cut them into partitions, pack them into frames, read frames without copying. See docs/frame_format.md."""

from hpcflow.native._kernels import Arena, ArenaPool
from hpcflow.native.frames import FrameHeader, FramePlan, pack_frame, pack_frames, partition_row_offsets, read_header, unpack_frame
from hpcflow.native.hashing import hash_partition_ids, hash_rows, partition_histogram, partition_ids_from_hashes
from hpcflow.native.processor import cpu_features, simd_level
from hpcflow.native.ranges import range_partition_ids
from hpcflow.native.user_ids import user_partition_ids

__all__ = [
    "Arena",
    "ArenaPool",
    "FrameHeader",
    "FramePlan",
    "cpu_features",
    "hash_partition_ids",
    "hash_rows",
    "pack_frame",
    "pack_frames",
    "partition_histogram",
    "partition_ids_from_hashes",
    "partition_row_offsets",
    "range_partition_ids",
    "read_header",
    "simd_level",
    "unpack_frame",
    "user_partition_ids",
]
