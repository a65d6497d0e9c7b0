// Rung 3, vectorised: 16 bytes, 32 weights, a lane and load; the vector in 16-byte loads; exponents in place of
// conversions.
//
// OR-ing 0x4300 (128 in bf16) onto a nibble makes the float 128 + w, so two weights are turned into numbers by one mask
// and one subtraction, where an int-to-float conversion each would take a quarter-rate unit.
//
// Predicted: 2 to 3 times rung 2. The multiply-adds in fp32, two conversions and one multiply-add a weight, are now
// about as long as the memory's time.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int WARPS = 4;

__device__ float eight(uint32_t word, uint4 inputs) {
    // Nibbles i and i + 4 come out together: element i pairs with element i + 4 of x.
    const __nv_bfloat16* x = reinterpret_cast<const __nv_bfloat16*>(&inputs);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t bits = ((word >> (4 * i)) & 0x000f000f) | 0x43004300;
        const __nv_bfloat162 w = __hsub2(*reinterpret_cast<__nv_bfloat162*>(&bits), __float2bfloat162_rn(136.f));
        sum += __low2float(w) * __bfloat162float(x[i]) + __high2float(w) * __bfloat162float(x[i + 4]);
    }
    return sum;
}

__global__ void vectorised_kernel(
    const uint4* x, const uint4* weight, const __nv_bfloat16* scales, __nv_bfloat16* out, int n, int k) {
    const int row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x & 31, words = k / 32;
    if (row >= n) return;
    weight += int64_t(row) * words;
    float total = 0;
    for (int i = lane; i < words; i += 32) {
        const uint4 w = __ldcs(weight + i);
        const float sum =
            eight(w.x, x[4 * i]) + eight(w.y, x[4 * i + 1]) + eight(w.z, x[4 * i + 2]) + eight(w.w, x[4 * i + 3]);
        total += sum * __bfloat162float(scales[int64_t(i / 4) * n + row]);
    }
    for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(~0u, total, step);
    if (lane == 0) out[row] = __float2bfloat16(total);
}

/// k a multiple of 128.
extern "C" cudaError_t launch(
    const uint4* x, const uint4* rows, const uint32_t* fragments, const __nv_bfloat16* scales, __nv_bfloat16* out,
    int n, int k, cudaStream_t stream) {
    if (k % 128) return cudaErrorInvalidValue;
    vectorised_kernel<<<(n + WARPS - 1) / WARPS, WARPS * 32, 0, stream>>>(x, rows, scales, out, n, k);
    return cudaGetLastError();
}
