// Rung 3, shared tiles: a block of 32 x 32 threads copies 32 x 32 tiles of a and b to shared memory and each element is
// then used 32 times from there.
//
// Device memory is read once per 32 uses. What limits now is shared memory: each multiply-add needs two 4-byte loads,
// and a multiprocessor delivers 32 words a cycle while it could do 128 multiply-adds.
//
// Predicted: about 2 times rung 2, at an eighth of the fp32 peak: 64 words wanted for every 32 delivered.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

constexpr int TILE = 32;

__global__ void __launch_bounds__(TILE* TILE)
    shared_tiles_kernel(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k) {
    __shared__ float a_tile[TILE][TILE + 1], b_tile[TILE][TILE + 1];  // + 1: columns fall into different banks
    const int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * TILE + y, column = blockIdx.x * TILE + x;
    const int b_row = blockIdx.x * TILE + y;
    float sum = 0;
    for (int start = 0; start < k; start += TILE) {
        const bool inside = start + x < k;
        a_tile[y][x] = inside && row < m ? __bfloat162float(a[int64_t(row) * k + start + x]) : 0.f;
        b_tile[y][x] = inside && b_row < n ? __bfloat162float(b[int64_t(b_row) * k + start + x]) : 0.f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++) sum += a_tile[y][i] * b_tile[x][i];
        __syncthreads();
    }
    if (row < m && column < n) c[int64_t(row) * n + column] = __float2bfloat16(sum);
}

extern "C" cudaError_t launch(
    const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k, cudaStream_t stream) {
    const dim3 grid((n + TILE - 1) / TILE, (m + TILE - 1) / TILE);
    shared_tiles_kernel<<<grid, dim3(TILE, TILE), 0, stream>>>(a, b, c, m, n, k);
    return cudaGetLastError();
}
