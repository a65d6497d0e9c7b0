// Rung 1, naive: a thread computes one output and walks along its row of 4-bit weights, a word of eight at a time.
//
// Neighbouring threads are 7 KB apart in the weight: each 4-byte load moves a 32-byte sector, of which the next seven
// loads may still find the rest in L1.
//
// Predicted: 5 to 10% of bandwidth: 4096 threads cannot keep enough loads in flight.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

__global__ void naive_kernel(
    const __nv_bfloat16* x, const uint32_t* weight, const __nv_bfloat16* scales, __nv_bfloat16* out, int n, int k) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n) return;
    float total = 0;
    for (int group = 0; group < k / 128; group++) {
        float sum = 0;
        for (int w = 0; w < 16; w++) {
            const uint32_t word = weight[int64_t(row) * (k / 8) + group * 16 + w];
            for (int e = 0; e < 8; e++)
                sum += (float(word >> (4 * e) & 15) - 8.f) * __bfloat162float(x[group * 128 + w * 8 + e]);
        }
        total += sum * __bfloat162float(scales[int64_t(group) * n + row]);
    }
    out[row] = __float2bfloat16(total);
}

extern "C" cudaError_t launch(
    const __nv_bfloat16* x, const uint32_t* rows, const uint32_t* fragments, const __nv_bfloat16* scales,
    __nv_bfloat16* out, int n, int k, cudaStream_t stream) {
    naive_kernel<<<(n + 63) / 64, 64, 0, stream>>>(x, rows, scales, out, n, k);
    return cudaGetLastError();
}
