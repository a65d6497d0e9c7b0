// Rung 2, split-KV: a context is cut into runs that different blocks take; a second kernel adds their results up by
// log-sum-exp (Dao et al., "Flash-Decoding", 2023). The four heads of a KV head are computed together.
//
// Enough blocks for the whole machine at any number of sequences, and K and V are read once for four heads. Loads are
// still 8 bytes a lane for K and 2 for V.
//
// Predicted: 2.5 to 4 times rung 1 at 64 sequences, far more at one.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int D = 128, HEADS = 32, KV_HEADS = 8, GROUP = HEADS / KV_HEADS, PAGE = 16, THREADS = 128;
constexpr int SLOT = 2 * KV_HEADS * D, CHUNK = 128, MAX_SPLITS = 64;

// scratch: for each [sequence, head, split] the output's 128 floats, then the log-sum-exp and one unused.
constexpr int PART = D + 2;

__global__ void split_kv_kernel(
    const __nv_bfloat16* q, const __nv_bfloat16* cache, const int* tables, float* scratch, int context, int blocks,
    int splits, float scale) {
    __shared__ float scores[GROUP][CHUNK], shared[GROUP][THREADS / 32];
    const int kv_head = blockIdx.x, sequence = blockIdx.y, split = blockIdx.z;
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    const int share = ((context + splits - 1) / splits + CHUNK - 1) / CHUNK * CHUNK;
    const int begin = split * share, end = min(context, begin + share);
    tables += int64_t(sequence) * blocks;
    float mine[GROUP][4], top[GROUP], total[GROUP], acc[GROUP];
    for (int h = 0; h < GROUP; h++) {
        const __nv_bfloat16* at = q + (int64_t(sequence) * HEADS + kv_head * GROUP + h) * D + lane * 4;
        for (int e = 0; e < 4; e++) mine[h][e] = __bfloat162float(at[e]);
        top[h] = -INFINITY;
        total[h] = acc[h] = 0;
    }
    for (int start = begin; start < end; start += CHUNK) {
        const int keys = min(CHUNK, end - start);
        float higher[GROUP];
        for (int h = 0; h < GROUP; h++) higher[h] = -INFINITY;
        for (int i = warp; i < keys; i += THREADS / 32) {
            const int key = start + i;
            const __nv_bfloat16* k =
                cache + (int64_t(tables[key / PAGE]) * PAGE + key % PAGE) * SLOT + kv_head * D + lane * 4;
            float x[4];
            for (int e = 0; e < 4; e++) x[e] = __bfloat162float(k[e]);
#pragma unroll
            for (int h = 0; h < GROUP; h++) {
                float sum = 0;
                for (int e = 0; e < 4; e++) sum += mine[h][e] * x[e];
                for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
                if (lane == 0) scores[h][i] = sum * scale;
                higher[h] = fmaxf(higher[h], sum * scale);
            }
        }
        if (lane == 0)
            for (int h = 0; h < GROUP; h++) shared[h][warp] = higher[h];
        __syncthreads();
#pragma unroll
        for (int h = 0; h < GROUP; h++) {
            float new_top = top[h];
            for (int w = 0; w < THREADS / 32; w++) new_top = fmaxf(new_top, shared[h][w]);
            const float shrink = __expf(top[h] - new_top);
            acc[h] *= shrink;
            total[h] *= shrink;
            top[h] = new_top;
        }
        for (int i = 0; i < keys; i++) {
            const int key = start + i;
            const int64_t slot = int64_t(tables[key / PAGE]) * PAGE + key % PAGE;
            const float v = __bfloat162float(cache[slot * SLOT + (KV_HEADS + kv_head) * D + threadIdx.x]);
#pragma unroll
            for (int h = 0; h < GROUP; h++) {
                const float p = __expf(scores[h][i] - top[h]);
                total[h] += p;
                acc[h] += p * v;
            }
        }
        __syncthreads();
    }
    for (int h = 0; h < GROUP; h++) {
        float* part = scratch + ((int64_t(sequence) * HEADS + kv_head * GROUP + h) * splits + split) * PART;
        part[threadIdx.x] = total[h] > 0 ? acc[h] / total[h] : 0.f;
        if (threadIdx.x == 0) part[D] = total[h] > 0 ? top[h] + __logf(total[h]) : -INFINITY;
    }
}

__global__ void add_splits_kernel(const float* scratch, __nv_bfloat16* out, int splits) {
    const float* parts = scratch + int64_t(blockIdx.x) * splits * PART;
    float top = -INFINITY, total = 0, acc = 0;
    for (int s = 0; s < splits; s++) top = fmaxf(top, parts[s * PART + D]);
    for (int s = 0; s < splits; s++) {
        const float weight = __expf(parts[s * PART + D] - top);
        total += weight;
        acc += weight * parts[s * PART + threadIdx.x];
    }
    out[int64_t(blockIdx.x) * D + threadIdx.x] = __float2bfloat16(acc / total);
}

extern "C" cudaError_t launch(
    const __nv_bfloat16* q, const __nv_bfloat16* cache, const int* tables, __nv_bfloat16* out, float* scratch,
    int sequences, int context, int blocks, cudaStream_t stream) {
    const int wanted = (132 * 8 + sequences * KV_HEADS - 1) / (sequences * KV_HEADS);
    const int splits = max(1, min(min(wanted, MAX_SPLITS), (context + CHUNK - 1) / CHUNK));
    split_kv_kernel<<<dim3(KV_HEADS, sequences, splits), THREADS, 0, stream>>>(
        q, cache, tables, scratch, context, blocks, splits, rsqrtf(float(D)));
    add_splits_kernel<<<sequences * HEADS, D, 0, stream>>>(scratch, out, splits);
    return cudaGetLastError();
}
