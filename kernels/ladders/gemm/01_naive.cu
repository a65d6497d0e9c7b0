// Rung 1, naive: one thread computes one element of c; neighbouring threads take neighbouring rows.
//
// In a warp, 32 threads read 32 different rows of a, each 2 bytes of a 32-byte sector: one part in 16 of what memory
// delivers is used, and each element of a and b is read n or m times. The caches soften both, nothing more.
//
// Predicted: under 1% of cuBLAS. Every multiply-add waits for two loads and the loads of a warp are scattered.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

__global__ void naive_kernel(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k) {
    const int row = blockIdx.x * 32 + threadIdx.x, column = blockIdx.y * 32 + threadIdx.y;
    if (row >= m || column >= n) return;
    float sum = 0;
    for (int i = 0; i < k; i++)
        sum += __bfloat162float(a[int64_t(row) * k + i]) * __bfloat162float(b[int64_t(column) * k + i]);
    c[int64_t(row) * n + column] = __float2bfloat16(sum);
}

extern "C" cudaError_t launch(
    const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k, cudaStream_t stream) {
    naive_kernel<<<dim3((m + 31) / 32, (n + 31) / 32), dim3(32, 32), 0, stream>>>(a, b, c, m, n, k);
    return cudaGetLastError();
}
