// Rung 4, tensor cores: the kernel that the op `w4a16_gemm` runs, `llm_kernels/cuda/w4a16.cu`.
//
// Weights are repacked once, at load time, into the order in which lanes want them; then the tensor core does the
// multiply-adds, and a weight costs 1.25 instructions in place of 4. Seven of the eight columns of the product are idle
// at batch 1, and free at batch 8.
//
// Predicted: 1.3 to 2 times rung 3, above 80% of bandwidth.

#include "w4a16.cu"

extern "C" cudaError_t launch(
    const void* x, const void* rows, const void* fragments, const void* scales, void* out, int n, int k,
    cudaStream_t stream) {
    return w4a16(x, fragments, scales, nullptr, out, 1, n, k, 128, 1, stream);
}
