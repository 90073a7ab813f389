#include "hf_cpu.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

bool hf_cpu_has(HfSimd level) {
    if (level == HfSimd::scalar) return true;
#if HF_X86
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt");
    if (level == HfSimd::avx2) return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

const char* hf_simd_name(HfSimd level) {
    switch (level) {
        case HfSimd::avx512:
            return "avx512";
        case HfSimd::avx2:
            return "avx2";
        default:
            return "scalar";
    }
}

HfSimd hf_simd() {
    static const HfSimd chosen = [] {
        HfSimd best = hf_cpu_has(HfSimd::avx512) ? HfSimd::avx512 : hf_cpu_has(HfSimd::avx2) ? HfSimd::avx2 : HfSimd::scalar;
        const char* wanted = std::getenv("HPCFLOW_SIMD");
        if (wanted == nullptr) return best;
        for (HfSimd level : {HfSimd::scalar, HfSimd::avx2, HfSimd::avx512}) {
            if (std::strcmp(wanted, hf_simd_name(level)) == 0) return level < best ? level : best;
        }
        return best;
    }();
    return chosen;
}
