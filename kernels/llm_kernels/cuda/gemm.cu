// bf16 GEMM for Hopper: persistent, warp-specialised, wgmma fed by TMA.  c [m, n] = a [m, k] b [n, k]^T
//
// A block of three warpgroups stays on each multiprocessor and walks over 128 x 256 tiles of c. One warpgroup only
// issues copies (one thread does; the others idle and give their registers away); the other two each multiply 64 rows.
// Four stages of shared memory stand between them, each with two barriers: `full` (the copy's bytes have landed) and
// `empty` (both consumers have read it). While consumers write one tile out, the producer already loads the next.
//
//   shared memory    4 x (a: 128 x 64, b: 256 x 64) bf16 = 192 KiB, rows of 128 bytes, swizzled
//   registers        consumers 240 (128 of them accumulators), producer 24
//
// Tiles are walked in bands of 16 rows of tiles, so that the 132 tiles in flight share operands in L2.
// Takes m a multiple of 128, n of 256, k of 64.

#include "hopper.cuh"

namespace {

constexpr int TILE_M = 128, TILE_N = 256, TILE_K = 64, STAGES = 4, BAND = 16;
constexpr int CONSUMERS = 2, THREADS = 128 * (1 + CONSUMERS);

struct Shared {
    alignas(1024) __nv_bfloat16 a[STAGES][TILE_M * TILE_K];
    alignas(1024) __nv_bfloat16 b[STAGES][TILE_N * TILE_K];
    uint64_t full[STAGES], empty[STAGES];
};

struct Tile {
    int m, n;
};

__device__ Tile tile_at(int index, int tiles_m, int tiles_n) {
    const int band = index / (BAND * tiles_n), first = band * BAND, rows = min(BAND, tiles_m - first);
    const int inside = index - first * tiles_n;
    return {first + inside % rows, inside / rows};
}

struct Stage {
    int index = 0;
    uint32_t phase = 0;
    __device__ void next() {
        if (++index == STAGES) {
            index = 0;
            phase ^= 1;
        }
    }
};

__global__ void __launch_bounds__(THREADS, 1) gemm_kernel(
    const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map, __nv_bfloat16* c, int m, int n,
    int k) {
    extern __shared__ unsigned char raw[];
    Shared& shared = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t(1023));
    const int tiles_m = m / TILE_M, tiles_n = n / TILE_N, tiles = tiles_m * tiles_n, steps = k / TILE_K;
    const int warpgroup = threadIdx.x / 128;
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; s++) {
            hopper::barrier_init(&shared.full[s], 1);
            hopper::barrier_init(&shared.empty[s], CONSUMERS);
        }
        hopper::barrier_init_done();
    }
    __syncthreads();

    Stage stage;
    if (warpgroup == 0) {
        hopper::registers_give<24>();
        if (threadIdx.x == 0) {
            for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
                const Tile tile = tile_at(index, tiles_m, tiles_n);
                for (int step = 0; step < steps; step++, stage.next()) {
                    hopper::barrier_wait(&shared.empty[stage.index], stage.phase ^ 1);
                    uint64_t* full = &shared.full[stage.index];
                    hopper::barrier_arrive_expect(full, (TILE_M + TILE_N) * TILE_K * sizeof(__nv_bfloat16));
                    hopper::copy_2d(shared.a[stage.index], &a_map, full, step * TILE_K, tile.m * TILE_M);
                    hopper::copy_2d(shared.b[stage.index], &b_map, full, step * TILE_K, tile.n * TILE_N);
                }
            }
        }
    } else {
        hopper::registers_take<240>();
        const int consumer = warpgroup - 1;
        const bool speaks = threadIdx.x % 128 == 0;
        for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
            const Tile tile = tile_at(index, tiles_m, tiles_n);
            float acc[TILE_N / 2];
            int previous = 0;
            for (int step = 0; step < steps; step++, stage.next()) {
                hopper::barrier_wait(&shared.full[stage.index], stage.phase);
                const uint64_t a = hopper::operand(shared.a[stage.index] + consumer * 64 * TILE_K);
                const uint64_t b = hopper::operand(shared.b[stage.index]);
                hopper::wgmma_fence();
#pragma unroll
                for (int i = 0; i < TILE_K / 16; i++)  // 16 elements are 32 bytes, 2 in the descriptor's units
                    hopper::wgmma_m64n256k16(acc, a + 2 * i, b + 2 * i, step > 0 || i > 0);
                hopper::wgmma_commit();
                // The products of the step before are done: its stage may be overwritten.
                hopper::wgmma_wait<1>();
                if (step > 0 && speaks) hopper::barrier_arrive(&shared.empty[previous]);
                previous = stage.index;
            }
            hopper::wgmma_wait<0>();
            if (speaks) hopper::barrier_arrive(&shared.empty[previous]);
            __nv_bfloat16* out = c + int64_t(tile.m * TILE_M + consumer * 64) * n + tile.n * TILE_N;
            hopper::store_bf16<TILE_N>(acc, out, n, 64);
        }
    }
}

cudaError_t map_rows(CUtensorMap* map, const void* data, int rows, int k, uint32_t box_rows) {
    const uint64_t sizes[2] = {uint64_t(k), uint64_t(rows)}, strides[1] = {uint64_t(k) * sizeof(__nv_bfloat16)};
    const uint32_t box[2] = {TILE_K, box_rows};
    return hopper::make_map(map, data, 2, sizes, strides, box);
}

}  // namespace

extern "C" cudaError_t gemm(const void* a, const void* b, void* c, int m, int n, int k, cudaStream_t stream) {
    if (m % TILE_M || n % TILE_N || k % TILE_K) return cudaErrorInvalidValue;
    CUtensorMap a_map, b_map;
    cudaError_t error = map_rows(&a_map, a, m, k, TILE_M);
    if (error == cudaSuccess) error = map_rows(&b_map, b, n, k, TILE_N);
    if (error != cudaSuccess) return error;
    const int bytes = sizeof(Shared) + 1024;
    error = cudaFuncSetAttribute(gemm_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    int device, processors;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    const int tiles = (m / TILE_M) * (n / TILE_N);
    gemm_kernel<<<min(tiles, processors), THREADS, bytes, stream>>>(
        a_map, b_map, static_cast<__nv_bfloat16*>(c), m, n, k);
    return cudaGetLastError();
}
