// Rung 2, tiled with online softmax: a block takes 64 queries, walks over tiles of 32 keys in shared memory, and keeps
// each query's running maximum, sum and output (FlashAttention: Dao et al., 2022).
//
// K and V are read once for 64 queries, and no score leaves the block. Four threads share a query: each has a quarter of
// the head for the output and every fourth key of a tile for the scores. Arithmetic is plain fp32.
//
// Predicted: 5 to 10 times rung 1; shared memory's bandwidth limits.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int D = 128, TILE_Q = 64, TILE_K = 32, THREADS = 256, PAD = D + 4;

__device__ void load_tile(float (*tile)[PAD], const __nv_bfloat16* from, int64_t stride, int rows, int wanted) {
    for (int i = threadIdx.x; i < wanted * D / 2; i += THREADS) {
        const int row = i / (D / 2), column = i % (D / 2) * 2;
        float2 x = {0, 0};
        if (row < rows) x = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(from + row * stride + column));
        tile[row][column] = x.x;
        tile[row][column + 1] = x.y;
    }
}

__global__ void __launch_bounds__(THREADS) tiled_online_kernel(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* out, int tokens, int heads,
    float scale) {
    extern __shared__ float raw[];
    float (*q_tile)[PAD] = reinterpret_cast<float (*)[PAD]>(raw);
    float (*k_tile)[PAD] = q_tile + TILE_Q;
    float (*v_tile)[PAD] = k_tile + TILE_K;
    float (*p_tile)[TILE_K + 1] = reinterpret_cast<float (*)[TILE_K + 1]>(v_tile + TILE_K);
    const int head = blockIdx.y % heads, batch = blockIdx.y / heads, first = blockIdx.x * TILE_Q;
    const int64_t stride = int64_t(heads) * D, base = int64_t(batch) * tokens * stride + head * D;
    const int row = threadIdx.x / 4, part = threadIdx.x % 4, query = first + row;
    load_tile(q_tile, q + base + first * stride, stride, tokens - first, TILE_Q);
    float acc[D / 4] = {}, top = -INFINITY, total = 0;
    const int keys = min(tokens, first + TILE_Q);
    for (int start = 0; start < keys; start += TILE_K) {
        __syncthreads();  // everybody is done with the tile before
        load_tile(k_tile, k + base + start * stride, stride, tokens - start, TILE_K);
        load_tile(v_tile, v + base + start * stride, stride, tokens - start, TILE_K);
        __syncthreads();
        float score[TILE_K / 4], higher = top;
#pragma unroll
        for (int j = 0; j < TILE_K / 4; j++) {
            float sum = 0;
#pragma unroll 8
            for (int e = 0; e < D; e += 4) {
                const float4 x = *reinterpret_cast<const float4*>(&q_tile[row][e]);
                const float4 y = *reinterpret_cast<const float4*>(&k_tile[4 * j + part][e]);
                sum += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
            }
            const int key = start + 4 * j + part;
            score[j] = key <= query && key < tokens ? sum * scale : -INFINITY;
            higher = fmaxf(higher, score[j]);
        }
        higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 1));
        higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 2));
        const float shrink = __expf(top - higher);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < TILE_K / 4; j++) {
            const float p = __expf(score[j] - higher);
            p_tile[row][4 * j + part] = p;
            sum += p;
        }
        total = total * shrink + sum;
        top = higher;
        __syncwarp();  // the four threads of a query are neighbours in a warp
#pragma unroll
        for (int e = 0; e < D / 4; e++) acc[e] *= shrink;
        for (int j = 0; j < TILE_K; j++) {
            const float p = p_tile[row][j];
#pragma unroll
            for (int e = 0; e < D / 4; e++) acc[e] += p * v_tile[j][4 * e + part];
        }
    }
    total += __shfl_xor_sync(~0u, total, 1);
    total += __shfl_xor_sync(~0u, total, 2);
    if (query < tokens)
#pragma unroll
        for (int e = 0; e < D / 4; e++) out[base + query * stride + 4 * e + part] = __float2bfloat16(acc[e] / total);
}

extern "C" cudaError_t launch(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* out, int batch, int tokens,
    int heads, cudaStream_t stream) {
    const int bytes = ((TILE_Q + 2 * TILE_K) * PAD + TILE_Q * (TILE_K + 1)) * sizeof(float);
    cudaError_t error = cudaFuncSetAttribute(tiled_online_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    const dim3 grid((tokens + TILE_Q - 1) / TILE_Q, batch * heads);
    tiled_online_kernel<<<grid, THREADS, bytes, stream>>>(q, k, v, out, tokens, heads, rsqrtf(float(D)));
    return cudaGetLastError();
}
