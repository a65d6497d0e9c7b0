// Rung 2, coalesced: a warp reads along k, where both operands are contiguous, and adds up by shuffles.
//
// Both operands lie k-major, so no choice of which thread owns which element makes plain loads contiguous: the threads
// of a warp must share a sum instead. A warp takes one row of a and eight rows of b; each lane reads two neighbouring
// elements (4 bytes), so a load of the warp is 128 contiguous bytes; five shuffle rounds add the 32 partial sums.
//
// Predicted: 3 to 6 times rung 1: every byte of a sector is used and a is read once for eight columns. Operands still
// come from the caches once for every use.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

constexpr int COLUMNS = 8, WARPS = 8;

__global__ void coalesced_kernel(
    const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k) {
    const int lane = threadIdx.x & 31, row = blockIdx.y * WARPS + threadIdx.x / 32, first = blockIdx.x * COLUMNS;
    if (row >= m) return;
    float sum[COLUMNS] = {};
    for (int i = 2 * lane; i < k; i += 64) {
        const float2 x = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(a + int64_t(row) * k + i));
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            const int column = min(first + j, n - 1);
            const float2 y = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(b + int64_t(column) * k + i));
            sum[j] += x.x * y.x + x.y * y.y;
        }
    }
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
        for (int step = 16; step > 0; step /= 2) sum[j] += __shfl_xor_sync(~0u, sum[j], step);
        if (lane == 0 && first + j < n) c[int64_t(row) * n + first + j] = __float2bfloat16(sum[j]);
    }
}

/// k must be even.
extern "C" cudaError_t launch(
    const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k, cudaStream_t stream) {
    if (k % 2) return cudaErrorInvalidValue;
    const dim3 grid((n + COLUMNS - 1) / COLUMNS, (m + WARPS - 1) / WARPS);
    coalesced_kernel<<<grid, WARPS * 32, 0, stream>>>(a, b, c, m, n, k);
    return cudaGetLastError();
}
