// Rung 3, vectorised: 16-byte loads, several keys of a warp in flight, no barrier inside a run.
//
// Sixteen lanes hold a head of 128, eight elements each, so a warp reads two keys at once, and four such reads are issued
// before the first is used: 2 KiB of K and as much of V in flight for every warp. Each half-warp keeps running sums of its
// own keys for all four heads; they meet once, at the end.
//
// Predicted: 1.5 to 2.5 times rung 2, 80% of bandwidth at 64 sequences.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int D = 128, HEADS = 32, KV_HEADS = 8, GROUP = HEADS / KV_HEADS, PAGE = 16, THREADS = 128;
constexpr int SLOT = 2 * KV_HEADS * D, CHUNK = 128, MAX_SPLITS = 64;

// scratch: for each [sequence, head, split] the output's 128 floats, then the log-sum-exp and one unused.
constexpr int PART = D + 2;

constexpr int WARPS = THREADS / 32, UNROLL = 4;

struct Eight {
    float x[8];
};

__device__ Eight unpack(uint4 v) {
    Eight r;
    const __nv_bfloat162* pairs = reinterpret_cast<const __nv_bfloat162*>(&v);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 p = __bfloat1622float2(pairs[i]);
        r.x[2 * i] = p.x;
        r.x[2 * i + 1] = p.y;
    }
    return r;
}

__device__ float half_warp_sum(float x) {
#pragma unroll
    for (int step = 8; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
    return x;
}

__global__ void __launch_bounds__(THREADS) split_kv_kernel(
    const __nv_bfloat16* q, const __nv_bfloat16* cache, const int* tables, float* scratch, int context, int blocks,
    int splits, float scale) {
    __shared__ float acc_shared[2 * WARPS][D], top_shared[2 * WARPS], total_shared[2 * WARPS];
    const int kv_head = blockIdx.x, sequence = blockIdx.y, split = blockIdx.z;
    const int half = threadIdx.x / 16, lane = threadIdx.x & 15;  // 8 halves of warps
    const int share = ((context + splits - 1) / splits + CHUNK - 1) / CHUNK * CHUNK;
    const int begin = split * share, end = min(context, begin + share);
    tables += int64_t(sequence) * blocks;
    Eight mine[GROUP], acc[GROUP] = {};
    float top[GROUP], total[GROUP] = {};
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
        const int64_t at = (int64_t(sequence) * HEADS + kv_head * GROUP + h) * D + lane * 8;
        mine[h] = unpack(*reinterpret_cast<const uint4*>(q + at));
        top[h] = -INFINITY;
    }
    // The bound is the same for both halves of a warp, which shuffle together.
    for (int start = begin + threadIdx.x / 32 * 2; start < end; start += 2 * WARPS * UNROLL) {
        uint4 k[UNROLL], v[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int key = min(start + u * 2 * WARPS + half % 2, context - 1);
            const __nv_bfloat16* at =
                cache + (int64_t(tables[key / PAGE]) * PAGE + key % PAGE) * SLOT + kv_head * D + lane * 8;
            k[u] = __ldcs(reinterpret_cast<const uint4*>(at));
            v[u] = __ldcs(reinterpret_cast<const uint4*>(at + KV_HEADS * D));
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const bool seen = start + u * 2 * WARPS + half % 2 < end;
            const Eight x = unpack(k[u]), y = unpack(v[u]);
#pragma unroll
            for (int h = 0; h < GROUP; h++) {
                float sum = 0;
#pragma unroll
                for (int e = 0; e < 8; e++) sum += mine[h].x[e] * x.x[e];
                sum = half_warp_sum(sum);  // by all lanes, also those whose key is past the end
                const float score = seen ? sum * scale : -INFINITY;
                const float higher = fmaxf(top[h], score), base = higher == -INFINITY ? 0.f : higher;
                const float shrink = __expf(top[h] - base), p = __expf(score - base);
                top[h] = higher;
                total[h] = total[h] * shrink + p;
#pragma unroll
                for (int e = 0; e < 8; e++) acc[h].x[e] = acc[h].x[e] * shrink + p * y.x[e];
            }
        }
    }
    for (int h = 0; h < GROUP; h++) {
        __syncthreads();
#pragma unroll
        for (int e = 0; e < 8; e++) acc_shared[half][lane * 8 + e] = acc[h].x[e];
        if (lane == 0) {
            top_shared[half] = top[h];
            total_shared[half] = total[h];
        }
        __syncthreads();
        float all_top = -INFINITY, all_total = 0, all = 0;
        for (int i = 0; i < 2 * WARPS; i++) all_top = fmaxf(all_top, top_shared[i]);
        const float base = all_top == -INFINITY ? 0.f : all_top;
        for (int i = 0; i < 2 * WARPS; i++) {
            const float weight = __expf(top_shared[i] - base);
            all_total += weight * total_shared[i];
            all += weight * acc_shared[i][threadIdx.x];
        }
        float* part = scratch + ((int64_t(sequence) * HEADS + kv_head * GROUP + h) * splits + split) * PART;
        part[threadIdx.x] = all_total > 0 ? all / all_total : 0.f;
        if (threadIdx.x == 0) part[D] = all_total > 0 ? all_top + __logf(all_total) : -INFINITY;
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
