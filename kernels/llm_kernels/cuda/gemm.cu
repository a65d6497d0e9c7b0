// GEMM for Hopper: persistent, warp-specialised, wgmma fed by TMA.  c [m, n] = a [m, k] b [n, k]^T
//
// bf16, or 8 bits (int8, fp8 e4m3) with a scale for each row of a and of b, multiplied in after the sum; c is bf16.
//
// A block of three warpgroups stays on each multiprocessor and walks over 128 x 256 tiles of c. One warpgroup only
// issues copies (one thread does; the others idle and give their registers away); the other two each multiply 64 rows.
// Four stages of shared memory stand between them, each with two barriers: `full` (the copy's bytes have landed) and
// `empty` (both consumers have read it). While consumers write one tile out, the producer already loads the next.
//
//   shared memory    4 x (a: 128 rows, b: 256 rows) of 128 bytes, swizzled = 192 KiB
//   registers        consumers 240 (128 of them accumulators), producer 24
//
// A row of a stage is 128 bytes and a product takes 32 of them, whatever the type: 64 elements and 16 in bf16, 128 and
// 32 in 8 bits. So twice the arithmetic runs over the same pipeline.
//
// Tiles are walked in bands of 16 rows of tiles, so that the 132 tiles in flight share operands in L2.
// Takes m a multiple of 128, n of 256, k of 64 (bf16) or 128 (8 bits).

#include <cuda_fp8.h>

#include "hopper.cuh"

namespace {

constexpr int TILE_M = 128, TILE_N = 256, ROW_BYTES = 128, STAGES = 4, BAND = 16;
constexpr int CONSUMERS = 2, THREADS = 128 * (1 + CONSUMERS);

template <typename T>
struct Type;
template <>
struct Type<__nv_bfloat16> {
    using Sum = float;
    static constexpr CUtensorMapDataType map = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    static __device__ void multiply(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
        hopper::wgmma_m64n256k16(d, a, b, accumulate);
    }
};
template <>
struct Type<int8_t> {
    using Sum = int;
    static constexpr CUtensorMapDataType map = CU_TENSOR_MAP_DATA_TYPE_UINT8;
    static __device__ void multiply(int (&d)[128], uint64_t a, uint64_t b, int accumulate) {
        hopper::wgmma_m64n256k32_s8(d, a, b, accumulate);
    }
};
template <>
struct Type<__nv_fp8_e4m3> {
    using Sum = float;
    static constexpr CUtensorMapDataType map = CU_TENSOR_MAP_DATA_TYPE_UINT8;
    static __device__ void multiply(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
        hopper::wgmma_m64n256k32_e4m3(d, a, b, accumulate);
    }
};

struct Shared {
    alignas(1024) unsigned char a[STAGES][TILE_M * ROW_BYTES];
    alignas(1024) unsigned char b[STAGES][TILE_N * ROW_BYTES];
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

/// Sums of a warpgroup's 64 x 256 tile times the scales of its rows and columns (hopper.cuh: which lane holds what).
template <typename Sum>
__device__ void scale(const Sum (&sum)[128], float (&out)[128], const float* a_scale, const float* b_scale) {
    const int lane = threadIdx.x & 31, row = (threadIdx.x & 127) / 32 * 16 + lane / 4, t = lane & 3;
    const float rows[2] = {a_scale[row], a_scale[row + 8]};
#pragma unroll
    for (int j = 0; j < TILE_N / 8; j++) {
        const float2 columns = *reinterpret_cast<const float2*>(b_scale + 8 * j + 2 * t);
#pragma unroll
        for (int i = 0; i < 4; i++)
            out[4 * j + i] = static_cast<float>(sum[4 * j + i]) * (i & 1 ? columns.y : columns.x) * rows[i / 2];
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS, 1) gemm_kernel(
    const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map, const float* a_scale,
    const float* b_scale, __nv_bfloat16* c, int m, int n, int k) {
    extern __shared__ unsigned char raw[];
    Shared& shared = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t(1023));
    constexpr int TILE_K = ROW_BYTES / sizeof(T);
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
                    hopper::barrier_arrive_expect(full, (TILE_M + TILE_N) * ROW_BYTES);
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
            typename Type<T>::Sum acc[TILE_N / 2];
            int previous = 0;
            for (int step = 0; step < steps; step++, stage.next()) {
                hopper::barrier_wait(&shared.full[stage.index], stage.phase);
                const uint64_t a = hopper::operand(shared.a[stage.index] + consumer * 64 * ROW_BYTES);
                const uint64_t b = hopper::operand(shared.b[stage.index]);
                hopper::wgmma_fence();
#pragma unroll
                for (int i = 0; i < ROW_BYTES / 32; i++)  // 32 bytes are 2 in the descriptor's units
                    Type<T>::multiply(acc, a + 2 * i, b + 2 * i, step > 0 || i > 0);
                hopper::wgmma_commit();
                // The products of the previous step are done: its stage can be overwritten.
                hopper::wgmma_wait<1>();
                if (step > 0 && speaks) hopper::barrier_arrive(&shared.empty[previous]);
                previous = stage.index;
            }
            hopper::wgmma_wait<0>();
            if (speaks) hopper::barrier_arrive(&shared.empty[previous]);
            const int row = tile.m * TILE_M + consumer * 64, column = tile.n * TILE_N;
            __nv_bfloat16* out = c + int64_t(row) * n + column;
            if constexpr (sizeof(T) == 1) {
                float scaled[TILE_N / 2];
                scale(acc, scaled, a_scale + row, b_scale + column);
                hopper::store_bf16<TILE_N>(scaled, out, n, 64);
            } else {
                hopper::store_bf16<TILE_N>(acc, out, n, 64);
            }
        }
    }
}

template <typename T>
cudaError_t map_rows(CUtensorMap* map, const void* data, int rows, int k, uint32_t box_rows) {
    const uint64_t sizes[2] = {uint64_t(k), uint64_t(rows)}, strides[1] = {uint64_t(k) * sizeof(T)};
    const uint32_t box[2] = {ROW_BYTES / sizeof(T), box_rows};
    return hopper::make_map(map, data, 2, sizes, strides, box, Type<T>::map);
}

template <typename T>
cudaError_t launch_type(
    const void* a, const void* b, const void* a_scale, const void* b_scale, void* c, int m, int n, int k,
    cudaStream_t stream) {
    if (m % TILE_M || n % TILE_N || k % int(ROW_BYTES / sizeof(T))) return cudaErrorInvalidValue;
    CUtensorMap a_map, b_map;
    cudaError_t error = map_rows<T>(&a_map, a, m, k, TILE_M);
    if (error == cudaSuccess) error = map_rows<T>(&b_map, b, n, k, TILE_N);
    if (error != cudaSuccess) return error;
    const int bytes = sizeof(Shared) + 1024;
    error = cudaFuncSetAttribute(gemm_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    int device, processors;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    const int tiles = (m / TILE_M) * (n / TILE_N);
    gemm_kernel<T><<<min(tiles, processors), THREADS, bytes, stream>>>(
        a_map, b_map, static_cast<const float*>(a_scale), static_cast<const float*>(b_scale),
        static_cast<__nv_bfloat16*>(c), m, n, k);
    return cudaGetLastError();
}

}  // namespace

extern "C" cudaError_t gemm(const void* a, const void* b, void* c, int m, int n, int k, cudaStream_t stream) {
    return launch_type<__nv_bfloat16>(a, b, nullptr, nullptr, c, m, n, k, stream);
}

/// a, b int8 (is_int8) or e4m3; a_scale [m], b_scale [n] float32.
extern "C" cudaError_t scaled_gemm(
    const void* a, const void* b, const void* a_scale, const void* b_scale, void* c, int m, int n, int k, int is_int8,
    cudaStream_t stream) {
    return is_int8 ? launch_type<int8_t>(a, b, a_scale, b_scale, c, m, n, k, stream)
                   : launch_type<__nv_fp8_e4m3>(a, b, a_scale, b_scale, c, m, n, k, stream);
}
