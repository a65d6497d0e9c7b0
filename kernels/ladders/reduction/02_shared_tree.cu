// Rung 2, a block a row: threads read neighbouring elements, and add up through a tree in shared memory.
//
// A warp's read is 64 contiguous bytes. The row is read three times; the second and third time it comes from L1 or L2.
// Each tree takes eight rounds with a block-wide barrier, twice.
//
// Predicted: 10 to 20 times rung 1, a quarter to a third of bandwidth.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

constexpr int THREADS = 256;

template <typename Op>
__device__ float reduce(float value, float* shared, Op op) {
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] = op(shared[threadIdx.x], shared[threadIdx.x + half]);
        __syncthreads();
    }
    const float result = shared[0];
    __syncthreads();
    return result;
}

__global__ void shared_tree_kernel(const __nv_bfloat16* x, __nv_bfloat16* out, int n) {
    __shared__ float shared[THREADS];
    x += int64_t(blockIdx.x) * n;
    out += int64_t(blockIdx.x) * n;
    float top = -INFINITY, sum = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) top = fmaxf(top, __bfloat162float(x[i]));
    top = reduce(top, shared, [](float a, float b) { return fmaxf(a, b); });
    for (int i = threadIdx.x; i < n; i += THREADS) sum += __expf(__bfloat162float(x[i]) - top);
    sum = reduce(sum, shared, [](float a, float b) { return a + b; });
    for (int i = threadIdx.x; i < n; i += THREADS)
        out[i] = __float2bfloat16(__expf(__bfloat162float(x[i]) - top) / sum);
}

extern "C" cudaError_t launch(const __nv_bfloat16* x, __nv_bfloat16* out, int rows, int n, cudaStream_t stream) {
    shared_tree_kernel<<<rows, THREADS, 0, stream>>>(x, out, n);
    return cudaGetLastError();
}
