// Which instruction set the kernels run on: chosen once, at run time, so that one build serves every x86-64 and aarch64.
#pragma once

enum class HfSimd : int { scalar = 0, avx2 = 1, avx512 = 2 };

HfSimd hf_simd();  // the level in use: the best this CPU has, or HPCFLOW_SIMD when that names a lower one
bool hf_cpu_has(HfSimd level);
const char* hf_simd_name(HfSimd level);

// Code between HF_TARGET_BEGIN_x and HF_TARGET_END may use the instructions of x.
#if defined(__x86_64__) && defined(__clang__)
#define HF_X86 1
#define HF_TARGET_BEGIN_AVX2 _Pragma("clang attribute push(__attribute__((target(\"avx2,bmi,bmi2,popcnt\"))), apply_to = function)")
#define HF_TARGET_BEGIN_AVX512 \
    _Pragma("clang attribute push(__attribute__((target(\"avx512f,avx512dq,avx512bw,avx512vl,bmi,bmi2,popcnt\"))), apply_to = function)")
#define HF_TARGET_END _Pragma("clang attribute pop")
#elif defined(__x86_64__) && defined(__GNUC__)
#define HF_X86 1
#define HF_TARGET_BEGIN_AVX2 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,bmi,bmi2,popcnt\")")
#define HF_TARGET_BEGIN_AVX512 \
    _Pragma("GCC push_options") _Pragma("GCC target(\"avx512f,avx512dq,avx512bw,avx512vl,bmi,bmi2,popcnt,prefer-vector-width=512\")")
#define HF_TARGET_END _Pragma("GCC pop_options")
#else
#define HF_X86 0
#endif
