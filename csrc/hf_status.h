// Status codes of every kernel, and the text that goes with the last failure of this thread.
//
// A kernel returns HF_OK or a code below; it never throws across this boundary and never aborts. `hf_last_error()` is valid until the thread's next
// failure.
#pragma once

#include <cstdint>

enum HfStatus : int32_t {
    HF_OK = 0,
    HF_NO_MEMORY = 1,    // an allocation failed
    HF_INVALID = 2,      // the caller passed values that cannot be (a partition id >= partitions, ...)
    HF_UNSUPPORTED = 3,  // an Arrow type that has no kernel; the text names it
    HF_DAMAGED = 4,      // a frame that cannot be what a writer wrote
    HF_USER = 5,         // a user function returned a value out of range
};

const char* hf_last_error();

// Keeps the printf-like text for hf_last_error() and returns `status`, so that callers write `return hf_fail(...)`.
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int32_t hf_fail(int32_t status, const char* format, ...);
