// Rung 3, shuffles and the online sum: maximum and sum in one pass, added up in registers.
//
// A thread keeps (maximum, sum relative to it) and rescales the sum when the maximum grows (Milakov & Gimelshein, 2018);
// two such pairs merge with one rule, so one reduction does for both. Five shuffle rounds in a warp, one exchange through
// shared memory between warps: two barriers in place of thirty.
//
// Predicted: 1.5 to 2 times rung 2: two passes in place of three, few barriers.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

constexpr int THREADS = 256, WARPS = THREADS / 32;

struct Running {
    float top, sum;
};

__device__ Running merge(Running a, Running b) {
    const float top = fmaxf(a.top, b.top), base = top == -INFINITY ? 0.f : top;
    return {top, a.sum * __expf(a.top - base) + b.sum * __expf(b.top - base)};
}

__device__ Running merge_block(Running r, Running* shared) {
    for (int step = 16; step > 0; step /= 2)
        r = merge(r, {__shfl_xor_sync(~0u, r.top, step), __shfl_xor_sync(~0u, r.sum, step)});
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = r;
    __syncthreads();
    r = shared[0];
    for (int w = 1; w < WARPS; w++) r = merge(r, shared[w]);
    return r;
}

__global__ void shuffles_online_kernel(const __nv_bfloat16* x, __nv_bfloat16* out, int n) {
    __shared__ Running shared[WARPS];
    x += int64_t(blockIdx.x) * n;
    out += int64_t(blockIdx.x) * n;
    Running r = {-INFINITY, 0};
    for (int i = threadIdx.x; i < n; i += THREADS) r = merge(r, {__bfloat162float(x[i]), 1});
    r = merge_block(r, shared);
    for (int i = threadIdx.x; i < n; i += THREADS)
        out[i] = __float2bfloat16(__expf(__bfloat162float(x[i]) - r.top) / r.sum);
}

extern "C" cudaError_t launch(const __nv_bfloat16* x, __nv_bfloat16* out, int rows, int n, cudaStream_t stream) {
    shuffles_online_kernel<<<rows, THREADS, 0, stream>>>(x, out, n);
    return cudaGetLastError();
}
