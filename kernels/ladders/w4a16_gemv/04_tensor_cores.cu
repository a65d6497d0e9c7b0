// Rung 4, tensor cores.
//
// Weights are repacked once, at load time, into the order in which lanes want them (layouts.to_fragments); then the
// tensor core does the multiply-adds, and a weight costs 2 instructions in place of 4. Seven of the eight columns of
// the product are idle at batch 1, and free at batch 8. A block owns 16 rows of the weight; its 8 warps take every
// eighth tile of 128 inputs and add up through shared memory. The next tile's weights load while this one is
// multiplied.
//
// Predicted: 1.3 to 2 times rung 3, above 80% of bandwidth.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

namespace {

constexpr int WARPS = 8, TILE_N = 16, TILE_K = 128;

/// Weights 2 i and 2 i + 1 of a word as bf16, less 128 + 8: masking leaves two neighbours, OR-ing the exponent of 128
/// makes them 128 + w.
__device__ uint32_t two_weights(uint32_t word, int i) {
    uint32_t bits = ((word >> (4 * i)) & 0x000f000f) | 0x43004300;
    const __nv_bfloat162 offset = __float2bfloat162_rn(136.f);
    __nv_bfloat162 pair = __hsub2(*reinterpret_cast<__nv_bfloat162*>(&bits), offset);
    return *reinterpret_cast<uint32_t*>(&pair);
}

__device__ void mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// Lane (g, t) = (lane / 4, lane % 4) holds rows g and g + 8 of a tile; of each 16 inputs, 2 t, 2 t + 1, and two 8 on.
__global__ void __launch_bounds__(WARPS * 32) tensor_cores_kernel(
    const __nv_bfloat16* x, const uint4* fragments, const __nv_bfloat16* scales, __nv_bfloat16* out, int n, int k) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane / 4, t = lane & 3;
    const int tiles_k = k / TILE_K, row = blockIdx.x * TILE_N + g;
    const uint4* tiles = fragments + int64_t(blockIdx.x) * tiles_k * 64 + lane;
    float total[2] = {};

    uint4 low = {}, high = {};
    if (warp < tiles_k) {
        low = __ldcs(tiles + warp * 64);
        high = __ldcs(tiles + warp * 64 + 32);
    }
    for (int tile = warp; tile < tiles_k; tile += WARPS) {
        const uint32_t words[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
        const int next = tile + WARPS;
        if (next < tiles_k) {
            low = __ldcs(tiles + next * 64);
            high = __ldcs(tiles + next * 64 + 32);
        }
        const __nv_bfloat16* scale = scales + int64_t(tile) * n + row;
        uint32_t inputs[16] = {};  // column 0 of the product; the others are zero
        if (g == 0)
#pragma unroll
            for (int i = 0; i < 16; i++)
                inputs[i] = *reinterpret_cast<const uint32_t*>(x + tile * TILE_K + 8 * i + 2 * t);
        float sum[4] = {};
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const uint32_t low = words[0][i / 2], high = words[1][i / 2];
            const int at = i % 2 * 2;
            mma(sum, two_weights(low, at), two_weights(high, at), two_weights(low, at + 1), two_weights(high, at + 1),
                inputs[2 * i], inputs[2 * i + 1]);
        }
        total[0] += sum[0] * __bfloat162float(scale[0]);  // column 0 of the product: lanes of t = 0
        total[1] += sum[2] * __bfloat162float(scale[8]);
    }

    __shared__ float parts[WARPS][TILE_N];
    if (t == 0) {
        parts[warp][g] = total[0];
        parts[warp][g + 8] = total[1];
    }
    __syncthreads();
    if (threadIdx.x < TILE_N) {
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += parts[w][threadIdx.x];
        out[blockIdx.x * TILE_N + threadIdx.x] = __float2bfloat16(sum);
    }
}

}  // namespace

extern "C" cudaError_t launch(
    const void* x, const void* rows, const void* fragments, const void* scales, void* out, int n, int k,
    cudaStream_t stream) {
    tensor_cores_kernel<<<n / TILE_N, WARPS * 32, 0, stream>>>(
        static_cast<const __nv_bfloat16*>(x), static_cast<const uint4*>(fragments),
        static_cast<const __nv_bfloat16*>(scales), static_cast<__nv_bfloat16*>(out), n, k);
    return cudaGetLastError();
}
