// 4-bit weights, as both W4A16 kernels read them.
//
// out [m, n] = x [m, k] w^T,  w[n, k] = (value - zero[group, n]) * scale[group, n],  groups of a multiple of 128
// inputs.
//
// Weights lie in the order in which lanes need them as the tensor core's A operand (layouts.to_fragments): a lane's
// share of a 16 x 128 tile is two 16-byte words, and a warp's are contiguous. Masking a word with 0x000f000f takes out
// two neighbouring weights; OR-ing the exponent of 128 (bf16) or 1024 (fp16) makes them the floats 128 + w or 1024 + w,
// exactly; subtracting 128 + zero leaves w - zero, exactly.
//
// Sources: Kim et al., "Who Says Elephants Can't Run" (the exponent trick), 2022; Frantar et al., "Marlin", 2024.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

namespace {

constexpr int TILE_N = 16, TILE_K = 128;

template <typename T>
struct Pair;
template <>
struct Pair<__nv_bfloat16> {
    using type = __nv_bfloat162;
    static constexpr uint32_t exponent = 0x43004300;  // 128, 128
};
template <>
struct Pair<__half> {
    using type = __half2;
    static constexpr uint32_t exponent = 0x64006400;  // 1024, 1024
};

template <typename T>
__device__ T from_float(float x);
template <>
__device__ __nv_bfloat16 from_float(float x) {
    return __float2bfloat16(x);
}
template <>
__device__ __half from_float(float x) {
    return __float2half(x);
}

__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float to_float(__half x) { return __half2float(x); }

/// 128 or 1024, plus the zero point, twice.
template <typename T>
__device__ typename Pair<T>::type offset_of(uint32_t zero) {
    const uint32_t bits = zero * 0x10001 | Pair<T>::exponent;
    return *reinterpret_cast<const typename Pair<T>::type*>(&bits);
}

/// Weights 2 i and 2 i + 1 of a word, less `offset`.
template <typename T>
__device__ uint32_t two_weights(uint32_t word, int i, typename Pair<T>::type offset) {
    uint32_t bits;  // (word >> 4 i & 0x000f000f) | exponent, which the compiler makes two instructions of
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(bits) : "r"(word >> (4 * i)), "r"(0x000f000f), "r"(Pair<T>::exponent));
    typename Pair<T>::type pair = __hsub2(*reinterpret_cast<typename Pair<T>::type*>(&bits), offset);
    return *reinterpret_cast<uint32_t*>(&pair);
}

}  // namespace
