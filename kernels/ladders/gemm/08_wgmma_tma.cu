// Rung 8, wgmma + TMA: warpgroups of 128 threads multiply 64 x 256 x 16 at a time straight from shared memory, and one
// thread has the tensor memory accelerator copy whole tiles there.
//
// No thread computes addresses, holds operands in registers or executes copies: a step is 4 wgmma a warpgroup. Two
// warpgroups compute 128 x 256; four stages of shared memory with a barrier each for the copies' bytes. Here the same
// threads start the copies and multiply, so that all wait for the slowest at a block-wide barrier every step, and the
// machine idles while a block writes its tile and starts the next.
//
// Predicted: 1.4 to 1.7 times rung 7, 75 to 85% of cuBLAS.

#include "hopper.cuh"

namespace {

constexpr int TILE_M = 128, TILE_N = 256, TILE_K = 64, STAGES = 4, THREADS = 256;

struct Shared {
    alignas(1024) __nv_bfloat16 a[STAGES][TILE_M * TILE_K];
    alignas(1024) __nv_bfloat16 b[STAGES][TILE_N * TILE_K];
    uint64_t full[STAGES];
};

__global__ void __launch_bounds__(THREADS, 1) wgmma_tma_kernel(
    const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map, __nv_bfloat16* c, int n,
    int k) {
    extern __shared__ unsigned char raw[];
    Shared& shared = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t(1023));
    const int first_row = blockIdx.x * TILE_M, first_column = blockIdx.y * TILE_N, steps = k / TILE_K;
    const int warpgroup = threadIdx.x / 128;
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; s++) hopper::barrier_init(&shared.full[s], 1);
        hopper::barrier_init_done();
    }
    __syncthreads();

    auto fetch = [&](int step) {
        uint64_t* full = &shared.full[step % STAGES];
        hopper::barrier_arrive_expect(full, (TILE_M + TILE_N) * TILE_K * sizeof(__nv_bfloat16));
        hopper::copy_2d(shared.a[step % STAGES], &a_map, full, step * TILE_K, first_row);
        hopper::copy_2d(shared.b[step % STAGES], &b_map, full, step * TILE_K, first_column);
    };

    if (threadIdx.x == 0)
        for (int step = 0; step < STAGES - 1 && step < steps; step++) fetch(step);
    float acc[TILE_N / 2];
    for (int step = 0; step < steps; step++) {
        const int s = step % STAGES;
        hopper::barrier_wait(&shared.full[s], step / STAGES % 2);
        const uint64_t a = hopper::operand(shared.a[s] + warpgroup * 64 * TILE_K), b = hopper::operand(shared.b[s]);
        hopper::wgmma_fence();
#pragma unroll
        for (int i = 0; i < TILE_K / 16; i++) hopper::wgmma_m64n256k16(acc, a + 2 * i, b + 2 * i, step > 0 || i > 0);
        hopper::wgmma_commit();
        // The step before is done in both warpgroups after the barrier: its stage is the one to fill next.
        hopper::wgmma_wait<1>();
        __syncthreads();
        if (threadIdx.x == 0 && step + STAGES - 1 < steps) fetch(step + STAGES - 1);
    }
    hopper::wgmma_wait<0>();
    hopper::store_bf16<TILE_N>(acc, c + int64_t(first_row + warpgroup * 64) * n + first_column, n, 64);
}

cudaError_t map_rows(CUtensorMap* map, const void* data, int rows, int k, uint32_t box_rows) {
    const uint64_t sizes[2] = {uint64_t(k), uint64_t(rows)}, strides[1] = {uint64_t(k) * sizeof(__nv_bfloat16)};
    const uint32_t box[2] = {TILE_K, box_rows};
    return hopper::make_map(map, data, 2, sizes, strides, box);
}

}  // namespace

/// m a multiple of 128, n of 256, k of 64.
extern "C" cudaError_t launch(const void* a, const void* b, void* c, int m, int n, int k, cudaStream_t stream) {
    if (m % TILE_M || n % TILE_N || k % TILE_K) return cudaErrorInvalidValue;
    CUtensorMap a_map, b_map;
    cudaError_t error = map_rows(&a_map, a, m, k, TILE_M);
    if (error == cudaSuccess) error = map_rows(&b_map, b, n, k, TILE_N);
    if (error != cudaSuccess) return error;
    const int bytes = sizeof(Shared) + 1024;
    error = cudaFuncSetAttribute(wgmma_tma_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    wgmma_tma_kernel<<<dim3(m / TILE_M, n / TILE_N), THREADS, bytes, stream>>>(
        a_map, b_map, static_cast<__nv_bfloat16*>(c), n, k);
    return cudaGetLastError();
}
