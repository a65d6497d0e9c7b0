// Rung 1, one block a sequence and head: it walks over the whole context alone (PagedAttention's first version, 2023).
//
// A warp takes a key, lanes along the head, 4 elements each; then a thread takes a column of the output. The four heads
// that share a KV head read the same keys, each for itself.
//
// Predicted: 10 to 20% of bandwidth at 64 sequences, and near nothing at one: 32 blocks on 132 multiprocessors.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int D = 128, HEADS = 32, KV_HEADS = 8, PAGE = 16, THREADS = 128, SLOT = 2 * KV_HEADS * D, CHUNK = 1024;

__global__ void block_a_sequence_kernel(
    const __nv_bfloat16* q, const __nv_bfloat16* cache, const int* tables, __nv_bfloat16* out, int context, int blocks,
    float scale) {
    __shared__ float scores[CHUNK], shared[THREADS / 32];
    const int head = blockIdx.x, sequence = blockIdx.y, kv_head = head / (HEADS / KV_HEADS);
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    tables += int64_t(sequence) * blocks;
    const int64_t at = (int64_t(sequence) * HEADS + head) * D;
    float mine[4];
    for (int e = 0; e < 4; e++) mine[e] = __bfloat162float(q[at + lane * 4 + e]);
    float top = -INFINITY, total = 0, acc = 0;
    for (int start = 0; start < context; start += CHUNK) {
        const int keys = min(CHUNK, context - start);
        float higher = -INFINITY;
        for (int i = warp; i < keys; i += THREADS / 32) {
            const int key = start + i;
            const __nv_bfloat16* k = cache + (int64_t(tables[key / PAGE]) * PAGE + key % PAGE) * SLOT + kv_head * D;
            float sum = 0;
            for (int e = 0; e < 4; e++) sum += mine[e] * __bfloat162float(k[lane * 4 + e]);
            for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
            if (lane == 0) scores[i] = sum * scale;
            higher = fmaxf(higher, sum * scale);
        }
        if (lane == 0) shared[warp] = higher;
        __syncthreads();
        higher = top;
        for (int w = 0; w < THREADS / 32; w++) higher = fmaxf(higher, shared[w]);
        const float shrink = __expf(top - higher);
        acc *= shrink;
        total *= shrink;
        top = higher;
        for (int i = 0; i < keys; i++) {
            const int key = start + i;
            const __nv_bfloat16* v =
                cache + (int64_t(tables[key / PAGE]) * PAGE + key % PAGE) * SLOT + (KV_HEADS + kv_head) * D;
            const float p = __expf(scores[i] - top);
            total += p;
            acc += p * __bfloat162float(v[threadIdx.x]);
        }
        __syncthreads();
    }
    out[at + threadIdx.x] = __float2bfloat16(acc / total);
}

extern "C" cudaError_t launch(
    const __nv_bfloat16* q, const __nv_bfloat16* cache, const int* tables, __nv_bfloat16* out, float* scratch,
    int sequences, int context, int blocks, cudaStream_t stream) {
    block_a_sequence_kernel<<<dim3(HEADS, sequences), THREADS, 0, stream>>>(
        q, cache, tables, out, context, blocks, rsqrtf(float(D)));
    return cudaGetLastError();
}
