// Rung 5, more warps: the kernel that the op `w4a16_gemm` runs for few rows, `llm_kernels/cuda/w4a16_gemv.cu`.
//
// Rung 4 asks for a tile's scales and inputs when it comes to the tile, and waits for memory once a tile, with 16 warps
// on a multiprocessor to wait in turn. Here blocks have 16 warps, two blocks a multiprocessor, and scales come with the
// weights, a tile ahead. Bits of a word become two weights in one instruction (lop3) in place of two.
//
// Predicted: 1.3 to 1.5 times rung 4, 70% of bandwidth; the launch and the first latency are 4 us of the rest.

#include "w4a16_gemv.cu"

extern "C" cudaError_t launch(
    const void* x, const void* rows, const void* fragments, const void* scales, void* out, int n, int k,
    cudaStream_t stream) {
    return w4a16_gemv(x, fragments, scales, nullptr, out, 1, n, k, 128, 1, stream);
}
