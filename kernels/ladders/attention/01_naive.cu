// Rung 1, naive: a block computes one query; all its scores lie in shared memory between three passes.
//
// K and V are read from L2 once for every query: tokens times more than there is. Scores: a warp a key, lanes along the
// head. Output: a thread a column.
//
// Predicted: about 1 TFLOP/s.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

constexpr int D = 128, THREADS = 128;

__device__ float block_reduce(float x, float* shared, bool maximum) {
    for (int step = 16; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(~0u, x, step);
        x = maximum ? fmaxf(x, other) : x + other;
    }
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
    for (int w = 1; w < THREADS / 32; w++) x = maximum ? fmaxf(x, shared[w]) : x + shared[w];
    __syncthreads();
    return x;
}

__global__ void naive_kernel(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* out, int tokens, int heads,
    float scale) {
    extern __shared__ float scores[];
    __shared__ float shared[THREADS / 32];
    const int query = blockIdx.x, head = blockIdx.y % heads, batch = blockIdx.y / heads;
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, keys = query + 1;
    const int64_t stride = int64_t(heads) * D, base = int64_t(batch) * tokens * stride + head * D;
    float mine[4];
    for (int e = 0; e < 4; e++) mine[e] = __bfloat162float(q[base + query * stride + lane * 4 + e]);
    float top = -INFINITY;
    for (int key = warp; key < keys; key += THREADS / 32) {
        float sum = 0;
        for (int e = 0; e < 4; e++) sum += mine[e] * __bfloat162float(k[base + key * stride + lane * 4 + e]);
        for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
        if (lane == 0) scores[key] = sum * scale;
        top = fmaxf(top, sum * scale);
    }
    top = block_reduce(top, shared, true);  // its barrier also orders the scores
    float total = 0;
    for (int key = threadIdx.x; key < keys; key += THREADS) {
        scores[key] = __expf(scores[key] - top);
        total += scores[key];
    }
    total = block_reduce(total, shared, false);
    float acc = 0;
    for (int key = 0; key < keys; key++) acc += scores[key] * __bfloat162float(v[base + key * stride + threadIdx.x]);
    out[base + query * stride + threadIdx.x] = __float2bfloat16(acc / total);
}

/// At most 50,000 tokens: their scores must fit into shared memory.
extern "C" cudaError_t launch(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* out, int batch, int tokens,
    int heads, cudaStream_t stream) {
    const int bytes = tokens * sizeof(float);
    cudaError_t error = cudaFuncSetAttribute(naive_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    naive_kernel<<<dim3(tokens, batch * heads), THREADS, bytes, stream>>>(
        q, k, v, out, tokens, heads, rsqrtf(float(D)));
    return cudaGetLastError();
}
