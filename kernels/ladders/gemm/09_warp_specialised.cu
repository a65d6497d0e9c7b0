// Rung 9, warp-specialised and persistent: the kernel that the op `gemm` runs, `llm_kernels/cuda/gemm.cu`.
//
// A warpgroup that only starts copies takes the place of rung 8's block-wide barrier: consumers wait for data alone, and
// tell the producer stage by stage what may be overwritten. Blocks stay on their multiprocessor and walk over tiles, so
// that the copies for the next tile run while this one is written. setmaxnreg moves registers from the producer to the
// consumers. Tiles are walked in bands, so that tiles in flight share operands in L2.
//
// Predicted: 1.1 to 1.25 times rung 8, 90 to 100% of cuBLAS.

#include "gemm.cu"

extern "C" cudaError_t launch(const void* a, const void* b, void* c, int m, int n, int k, cudaStream_t stream) {
    return gemm(a, b, c, m, n, k, stream);
}
