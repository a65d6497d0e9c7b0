// Rung 5, pipelined: the kernel that the op `w4a16_gemm` runs, `llm_kernels/cuda/w4a16.cu`.
//
// Rung 4 asks for a tile's scales and inputs when it comes to the tile, and waits for device memory each time. Here all
// that a tile needs, for 128 rows of the weight, comes by four TMA copies into a ring of six stages in shared memory; up
// to three blocks of 60 KiB run on a multiprocessor. wgmma reads x from there, so that lanes only unpack weights. Eight
// blocks share the inputs of 128 rows, and the last of them to finish adds up.
//
// Predicted: 1.3 to 1.6 times rung 4; what is left beside memory's 10 us is unpacking, the launch, and the sum.

#include "w4a16.cu"

static int* counters() {  // zero before and after each launch
    static int* done = nullptr;
    if (!done && cudaMalloc(&done, 1024 * sizeof(int)) == cudaSuccess) cudaMemset(done, 0, 1024 * sizeof(int));
    return done;
}

static float* parts(size_t floats) {
    static float* memory = nullptr;
    static size_t have = 0;
    if (floats > have) {
        cudaFree(memory);
        have = cudaMalloc(&memory, floats * sizeof(float)) == cudaSuccess ? floats : 0;
    }
    return memory;
}

extern "C" cudaError_t launch(
    const void* x, const void* rows, const void* fragments, const void* scales, void* out, int n, int k,
    cudaStream_t stream) {
    const int splits = w4a16_splits(1, n, k);
    return w4a16(
        x, fragments, scales, nullptr, out, parts(size_t(splits) * n), counters(), 1, n, k, 128, 1, splits, stream);
}
