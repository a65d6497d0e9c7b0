// 4-bit weights times 16-bit activations, for 1 to 16 rows of activations: every weight is read once, and that is the time.
//
// out [m, n] = x [m, k] w^T,  w[n, k] = (value - zero[group, n]) * scale[group, n],  groups of a multiple of 128 inputs.
//
// The tensor core multiplies 16 weight rows (its A operand) by up to 8 rows of x (its B operand), so a batch of 8 costs
// what a batch of 1 does. Weights lie in the order in which lanes need them (layouts.to_fragments): a lane's share of a
// 16 x 128 tile is two 16-byte loads, and a warp's loads are contiguous. Masking a word with 0x000f000f takes out two
// neighbouring weights; OR-ing the exponent of 128 (bf16) or 1024 (fp16) makes them the floats 128 + w or 1024 + w,
// exactly; subtracting 128 + zero leaves w - zero, exactly. The scale is applied to the sum of a group, in float32.
//
// A block owns 16 rows of the weight; its 8 warps take every eighth group tile and add up through shared memory.
// Sources: Kim et al., "Who Says Elephants Can't Run" (the exponent trick), 2022; Frantar et al., "Marlin", 2024.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

namespace {

constexpr int WARPS = 8, TILE_N = 16, TILE_K = 128;

template <typename T>
struct Pair;
template <>
struct Pair<__nv_bfloat16> {
    using type = __nv_bfloat162;
    static constexpr uint32_t exponent = 0x43004300;  // 128, 128
    static constexpr float base = 128;
};
template <>
struct Pair<__half> {
    using type = __half2;
    static constexpr uint32_t exponent = 0x64006400;  // 1024, 1024
    static constexpr float base = 1024;
};

template <typename T>
__device__ T from_float(float x);
template <>
__device__ __nv_bfloat16 from_float(float x) { return __float2bfloat16(x); }
template <>
__device__ __half from_float(float x) { return __float2half(x); }

__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float to_float(__half x) { return __half2float(x); }

/// Weights 2 i and 2 i + 1 of a word, less `offset` (128 or 1024, plus the zero point).
template <typename T>
__device__ uint32_t two_weights(uint32_t word, int i, typename Pair<T>::type offset) {
    uint32_t bits = ((word >> (4 * i)) & 0x000f000f) | Pair<T>::exponent;
    typename Pair<T>::type pair = __hsub2(*reinterpret_cast<typename Pair<T>::type*>(&bits), offset);
    return *reinterpret_cast<uint32_t*>(&pair);
}

template <typename T>
__device__ void mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1);
template <>
__device__ void mma<__nv_bfloat16>(
    float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
template <>
__device__ void mma<__half>(
    float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// BLOCKS: blocks of 8 rows of x, 1 or 2. Lane (g, t) = (lane / 4, lane % 4) holds weight rows g and g + 8, inputs 32 t to
/// 32 t + 31 of a tile, and the same inputs of row g of each block of x: the sum over k may take any order.
template <typename T, int BLOCKS>
__global__ void __launch_bounds__(WARPS * 32) w4a16_kernel(
    const T* x, const uint4* weight, const T* scales, const uint8_t* zeros, T* out, int m, int n, int k, int group_tiles) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane / 4, t = lane & 3;
    const int tiles_k = k / TILE_K, row = blockIdx.x * TILE_N + g;
    const uint4* tiles = weight + int64_t(blockIdx.x) * tiles_k * 64 + lane;
    float total[BLOCKS][4] = {};

    uint4 low = {}, high = {};
    if (warp < tiles_k) {
        low = __ldcs(tiles + warp * 64);
        high = __ldcs(tiles + warp * 64 + 32);
    }
    for (int tile = warp; tile < tiles_k; tile += WARPS) {
        const uint32_t words[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
        const int next = tile + WARPS;
        if (next < tiles_k) {  // the next tile is on its way while this one is multiplied
            low = __ldcs(tiles + next * 64);
            high = __ldcs(tiles + next * 64 + 32);
        }
        const int group = tile / group_tiles;
        float scale[2];
        typename Pair<T>::type offset[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int64_t at = int64_t(group) * n + row + 8 * r;
            scale[r] = to_float(scales[at]);
            const T base = from_float<T>(Pair<T>::base + (zeros ? float(zeros[at]) : 8.f));
            offset[r] = typename Pair<T>::type(base, base);
        }
        float sum[BLOCKS][4] = {};
#pragma unroll
        for (int w = 0; w < 4; w++) {
            uint4 inputs[BLOCKS];
#pragma unroll
            for (int b = 0; b < BLOCKS; b++) {
                inputs[b] = make_uint4(0, 0, 0, 0);
                if (8 * b + g < m)
                    inputs[b] = *reinterpret_cast<const uint4*>(
                        x + int64_t(8 * b + g) * k + tile * TILE_K + 32 * t + 8 * w);
            }
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const uint32_t a0 = two_weights<T>(words[0][w], 2 * half, offset[0]);
                const uint32_t a1 = two_weights<T>(words[1][w], 2 * half, offset[1]);
                const uint32_t a2 = two_weights<T>(words[0][w], 2 * half + 1, offset[0]);
                const uint32_t a3 = two_weights<T>(words[1][w], 2 * half + 1, offset[1]);
#pragma unroll
                for (int b = 0; b < BLOCKS; b++)
                    mma<T>(sum[b], a0, a1, a2, a3, half ? inputs[b].z : inputs[b].x, half ? inputs[b].w : inputs[b].y);
            }
        }
#pragma unroll
        for (int b = 0; b < BLOCKS; b++)
#pragma unroll
            for (int i = 0; i < 4; i++) total[b][i] += sum[b][i] * scale[i / 2];
    }

    // total[b][i]: weight row g + 8 (i / 2), row 8 b + 2 t + i % 2 of x.
    __shared__ float parts[WARPS][8 * BLOCKS][TILE_N + 1];
#pragma unroll
    for (int b = 0; b < BLOCKS; b++)
#pragma unroll
        for (int i = 0; i < 4; i++) parts[warp][8 * b + 2 * t + i % 2][g + 8 * (i / 2)] = total[b][i];
    __syncthreads();
    for (int i = threadIdx.x; i < m * TILE_N; i += WARPS * 32) {
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += parts[w][i / TILE_N][i % TILE_N];
        out[int64_t(i / TILE_N) * n + blockIdx.x * TILE_N + i % TILE_N] = from_float<T>(sum);
    }
}

template <typename T>
cudaError_t launch(
    const void* x, const void* weight, const void* scales, const void* zeros, void* out, int m, int n, int k,
    int group_size, cudaStream_t stream) {
    auto kernel = m <= 8 ? w4a16_kernel<T, 1> : w4a16_kernel<T, 2>;
    kernel<<<n / TILE_N, WARPS * 32, 0, stream>>>(
        static_cast<const T*>(x), static_cast<const uint4*>(weight), static_cast<const T*>(scales),
        static_cast<const uint8_t*>(zeros), static_cast<T*>(out), m, n, k, group_size / TILE_K);
    return cudaGetLastError();
}

}  // namespace

/// x [m, k], scales [k / group_size, n], out [m, n] bf16 (is_bf16) or fp16; zeros [k / group_size, n] uint8 or null (8).
extern "C" cudaError_t w4a16(
    const void* x, const void* weight, const void* scales, const void* zeros, void* out, int m, int n, int k,
    int group_size, int is_bf16, cudaStream_t stream) {
    if (m < 1 || m > 16 || n % TILE_N || k % TILE_K || group_size % TILE_K) return cudaErrorInvalidValue;
    return is_bf16 ? launch<__nv_bfloat16>(x, weight, scales, zeros, out, m, n, k, group_size, stream)
                   : launch<__half>(x, weight, scales, zeros, out, m, n, k, group_size, stream);
}
