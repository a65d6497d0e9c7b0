// 4-bit weights times 9 rows of x and more (w4a16_gemv.cu: fewer). A weight is read once for up to 64 rows of x.
//
// Weights are the tensor core's A operand, from registers, x the B operand, from shared memory: a warpgroup multiplies
// 64 weight rows by 16, 32 or 64 rows of x at once. w4a16.cuh says how weights lie and how they are unpacked. The scale
// is applied to the sum of a group, in float32.
//
//   a block       128 weight rows, up to 64 rows of x, a share of the inputs; two warpgroups
//   its ring      stages of 128 inputs (x swizzled, weights 8 KiB, scales, zeros), each four TMA copies: 60 to 100 KiB
//                 on their way
//   split-K       1 to 8 blocks share the inputs of one tile of out; the last to finish adds up their sums, in order
//
// Source: Frantar et al., "Marlin", 2024.

#include "hopper.cuh"
#include "hopper_small.cuh"
#include "w4a16.cuh"

namespace {

constexpr int WARPGROUPS = 2, THREADS = 128 * WARPGROUPS;
constexpr int BLOCK_N = 64 * WARPGROUPS, TILES = BLOCK_N / TILE_N;
constexpr int BATCH = 4;            // products between fences
constexpr int PITCH = BLOCK_N + 4;  // of a row of sums in shared memory: rows that a warp writes fall in other banks

template <typename T>
constexpr CUtensorMapDataType MAP = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
template <>
constexpr CUtensorMapDataType MAP<__half> = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;

/// A stage of the ring: 128 inputs. x as two halves of 64 inputs, rows of 128 bytes, swizzled.
template <typename T, int ROWS>
struct alignas(1024) Stage {
    T x[2][ROWS * 64];
    uint4 weight[TILES][64];
    T scale[BLOCK_N];
    uint8_t zero[BLOCK_N];
};

template <typename T, int ROWS>
struct Shared {
    static constexpr int stages = ROWS == 16 ? 6 : ROWS == 32 ? 5 : 4;
    Stage<T, ROWS> stage[stages];
    uint64_t full[stages];
    bool is_last;
};

template <typename T>
struct Problem {
    T* out;
    float* parts;
    int* done;
    int m, n, k, group_tiles;
    bool has_zeros;
};

/// What the copies read: x as [2, m, 64] from each multiple of 128 inputs on, weights as [tiles of n, tiles of k, 256].
struct Maps {
    CUtensorMap x, weight, scales, zeros;
};

/// One stage, four copies, each by a thread of its own warp. What lies past the last row arrives as zeros.
template <typename T, int ROWS>
__device__ void copy_stage(
    Stage<T, ROWS>& stage, uint64_t* full, const Maps& maps, const Problem<T>& p, int row, int column, int tile) {
    const int group = tile / p.group_tiles;
    if (threadIdx.x == 0) {
        const uint32_t zeros = p.has_zeros ? sizeof(stage.zero) : 0;
        hopper::barrier_arrive_expect(full, sizeof(stage.x) + sizeof(stage.weight) + sizeof(stage.scale) + zeros);
        hopper::copy_3d(stage.weight, &maps.weight, full, 0, tile, column / TILE_N);
    } else if (threadIdx.x == 32) {
        hopper::copy_3d(stage.x, &maps.x, full, 0, row, 2 * tile);
    } else if (threadIdx.x == 64) {
        hopper::copy_2d(stage.scale, &maps.scales, full, column, group);
    } else if (threadIdx.x == 96 && p.has_zeros) {
        hopper::copy_2d(stage.zero, &maps.zeros, full, column, group);
    }
}

/// total += the stage's products. Lane (g, t) = (lane / 4, lane % 4) holds weight rows g and g + 8 of its warp's tile;
/// total[4 b + j]: weight row g + 8 (j / 2), row 8 b + 2 t + j % 2 of x.
template <typename T, int ROWS>
__device__ void multiply_stage(const Stage<T, ROWS>& stage, bool has_zeros, float (&total)[ROWS / 2]) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    uint4 words[2];
    float scale[2];
    typename Pair<T>::type offset[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        words[r] = stage.weight[warp][32 * r + lane];
        const int at = warp * TILE_N + lane / 4 + 8 * r;
        scale[r] = to_float(stage.scale[at]);
        offset[r] = offset_of<T>(has_zeros ? stage.zero[at] : 8);
    }
    float sum[ROWS / 2];
    uint32_t a[TILE_K / 16][4];
#pragma unroll
    for (int s = 0; s < TILE_K / 16; s++) {
        const uint32_t low = reinterpret_cast<const uint32_t*>(&words[0])[s / 2];
        const uint32_t high = reinterpret_cast<const uint32_t*>(&words[1])[s / 2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            a[s][2 * i] = two_weights<T>(low, s % 2 * 2 + i, offset[0]);
            a[s][2 * i + 1] = two_weights<T>(high, s % 2 * 2 + i, offset[1]);
        }
        if (s % BATCH == BATCH - 1) {
            hopper::wgmma_fence();
#pragma unroll
            for (int b = s + 1 - BATCH; b <= s; b++)
                hopper::wgmma_small(
                    sum, a[b], hopper::operand(stage.x[b / 4]) + b % 4 * 2, b > 0, static_cast<T*>(nullptr));
        }
    }
    hopper::wgmma_commit();
    hopper::wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) total[i] += sum[i] * scale[i / 2 % 2];
}

template <typename T>
__device__ void store_four(T* out, float4 v) {
    alignas(8) const T four[4] = {from_float<T>(v.x), from_float<T>(v.y), from_float<T>(v.z), from_float<T>(v.w)};
    *reinterpret_cast<uint2*>(out) = *reinterpret_cast<const uint2*>(four);
}

/// Writes the block's tile out; where blocks share its inputs, their sums go to `parts` and the last block adds them
/// up.
template <typename T, int ROWS>
__device__ void write_out(
    Shared<T, ROWS>& shared, const Problem<T>& p, int row, int column, const float (&total)[ROWS / 2]) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane / 4, t = lane & 3;
    const int splits = gridDim.x, items = min(ROWS, p.m - row) * BLOCK_N / 4;
    const int64_t tile = int64_t(row) * p.n + column, size = int64_t(p.m) * p.n;
    float* sums = reinterpret_cast<float*>(&shared.stage);
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++)
        sums[(i / 4 * 8 + 2 * t + i % 2) * PITCH + warp * TILE_N + g + 8 * (i / 2 % 2)] = total[i];
    __syncthreads();
    for (int i = threadIdx.x; i < items; i += THREADS) {
        const int r = i / (BLOCK_N / 4), c = 4 * (i % (BLOCK_N / 4));
        if (column + c >= p.n) continue;
        const float4 sum = *reinterpret_cast<float4*>(sums + r * PITCH + c);
        const int64_t at = tile + int64_t(r) * p.n + c;
        if (splits == 1) store_four(p.out + at, sum);
        else *reinterpret_cast<float4*>(p.parts + blockIdx.x * size + at) = sum;
    }
    if (splits == 1) return;
    __threadfence();
    __syncthreads();
    int* done = p.done + blockIdx.z * gridDim.y + blockIdx.y;
    if (threadIdx.x == 0) shared.is_last = atomicAdd(done, 1) == splits - 1;
    __syncthreads();
    if (!shared.is_last) return;
    __threadfence();
    for (int i = threadIdx.x; i < items; i += THREADS) {
        const int r = i / (BLOCK_N / 4), c = 4 * (i % (BLOCK_N / 4));
        if (column + c >= p.n) continue;
        const int64_t at = tile + int64_t(r) * p.n + c;
        float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
        for (int b = 0; b < splits; b++) {
            const float4 part = __ldcg(reinterpret_cast<const float4*>(p.parts + b * size + at));
            sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
        }
        store_four(p.out + at, sum);
    }
    if (threadIdx.x == 0) *done = 0;  // for the next launch
}

template <typename T, int ROWS>
__global__ void __launch_bounds__(THREADS, 2) w4a16_kernel(const __grid_constant__ Maps maps, const Problem<T> p) {
    constexpr int STAGES = Shared<T, ROWS>::stages;
    extern __shared__ __align__(1024) unsigned char raw[];
    auto& shared = *reinterpret_cast<Shared<T, ROWS>*>(raw);
    const int row = blockIdx.z * ROWS, column = blockIdx.y * BLOCK_N, tiles_k = p.k / TILE_K;
    const int first = tiles_k * blockIdx.x / gridDim.x, count = tiles_k * (blockIdx.x + 1) / gridDim.x - first;
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; s++) hopper::barrier_init(&shared.full[s], 1);
        hopper::barrier_init_done();
    }
    __syncthreads();

    float total[ROWS / 2] = {};
    for (int s = 0; s < min(STAGES, count); s++)
        copy_stage<T, ROWS>(shared.stage[s], &shared.full[s], maps, p, row, column, first + s);
    int s = 0;
    uint32_t phase = 0;
    for (int i = 0; i < count; i++) {
        hopper::barrier_wait(&shared.full[s], phase);
        multiply_stage<T, ROWS>(shared.stage[s], p.has_zeros, total);
        __syncthreads();  // everyone is done with the stage
        if (i + STAGES < count)
            copy_stage<T, ROWS>(shared.stage[s], &shared.full[s], maps, p, row, column, first + i + STAGES);
        if (++s == STAGES) s = 0, phase ^= 1;
    }
    write_out<T, ROWS>(shared, p, row, column, total);
}

template <typename T>
cudaError_t make_maps(
    Maps* maps, const void* x, const void* weight, const void* scales, const void* zeros, const Problem<T>& p,
    int rows) {
    const uint64_t m = p.m, n = p.n, k = p.k, tiles_n = n / TILE_N, tiles_k = k / TILE_K;
    const uint64_t groups = tiles_k / p.group_tiles;
    const uint64_t x_sizes[3] = {64, m, k / 64}, x_strides[2] = {k * sizeof(T), 128};
    const uint32_t x_box[3] = {64, uint32_t(rows), 2};
    cudaError_t error = hopper::make_map(&maps->x, x, 3, x_sizes, x_strides, x_box, MAP<T>);
    const uint64_t weight_sizes[3] = {256, tiles_k, tiles_n}, weight_strides[2] = {1024, 1024 * tiles_k};
    const uint32_t weight_box[3] = {256, 1, TILES};
    if (error == cudaSuccess)
        error = hopper::make_map(
            &maps->weight, weight, 3, weight_sizes, weight_strides, weight_box, CU_TENSOR_MAP_DATA_TYPE_INT32,
            CU_TENSOR_MAP_SWIZZLE_NONE);
    const uint64_t sizes[2] = {n, groups}, scale_strides[1] = {n * sizeof(T)}, zero_strides[1] = {n};
    const uint32_t box[2] = {BLOCK_N, 1};
    if (error == cudaSuccess)
        error =
            hopper::make_map(&maps->scales, scales, 2, sizes, scale_strides, box, MAP<T>, CU_TENSOR_MAP_SWIZZLE_NONE);
    if (error == cudaSuccess && zeros)
        error = hopper::make_map(
            &maps->zeros, zeros, 2, sizes, zero_strides, box, CU_TENSOR_MAP_DATA_TYPE_UINT8,
            CU_TENSOR_MAP_SWIZZLE_NONE);
    return error;
}

int rows_of(int m) { return m <= 16 ? 16 : m <= 32 ? 32 : 64; }
int tiles_of(int m, int n) { return (n + BLOCK_N - 1) / BLOCK_N * ((m + rows_of(m) - 1) / rows_of(m)); }

template <typename T, int ROWS>
cudaError_t launch_rows(
    const void* x, const void* weight, const void* scales, const void* zeros, const Problem<T>& p, int splits,
    cudaStream_t stream) {
    static_assert(ROWS * PITCH * sizeof(float) <= sizeof(Shared<T, ROWS>::stage), "the sums fit");
    Maps maps = {};
    cudaError_t error = make_maps(&maps, x, weight, scales, zeros, p, ROWS);
    const int bytes = sizeof(Shared<T, ROWS>);
    auto kernel = w4a16_kernel<T, ROWS>;
    if (error == cudaSuccess) error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    const dim3 grid(splits, (p.n + BLOCK_N - 1) / BLOCK_N, (p.m + ROWS - 1) / ROWS);
    kernel<<<grid, THREADS, bytes, stream>>>(maps, p);
    return cudaGetLastError();
}

template <typename T>
cudaError_t launch_type(
    const void* x, const void* weight, const void* scales, const void* zeros, void* out, float* parts, int* done, int m,
    int n, int k, int group_size, int splits, cudaStream_t stream) {
    const Problem<T> p = {static_cast<T*>(out), parts, done, m, n, k, group_size / TILE_K, zeros != nullptr};
    switch (rows_of(m)) {
        case 16: return launch_rows<T, 16>(x, weight, scales, zeros, p, splits, stream);
        case 32: return launch_rows<T, 32>(x, weight, scales, zeros, p, splits, stream);
        default: return launch_rows<T, 64>(x, weight, scales, zeros, p, splits, stream);
    }
}

}  // namespace

extern "C" int w4a16_tiles(int m, int n) { return tiles_of(m, n); }

/// How many blocks should share the inputs of a tile of out: as many as leave each block the fewest steps, with two
/// blocks a processor, and a step for what a further block costs.
extern "C" int w4a16_splits(int m, int n, int k) {
    int device = 0, processors = 1, best = 1, least = 1 << 30;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    for (int splits = 1; splits <= 8 && splits <= k / TILE_K; splits++) {
        const int waves = (tiles_of(m, n) * splits + 2 * processors - 1) / (2 * processors);
        const int steps = waves * ((k / TILE_K + splits - 1) / splits + 2);
        if (steps < least) best = splits, least = steps;
    }
    return best;
}

/// x [m, k], scales [k / group_size, n], out [m, n] bf16 (is_bf16) or fp16; zeros [k / group_size, n] uint8 or null
/// (8). Where splits > 1: parts [splits, m, n] float32, and done, w4a16_tiles(m, n) ints that are zero before and after
/// and that no other launch uses meanwhile. All pointers are multiples of 16 bytes.
extern "C" cudaError_t w4a16(
    const void* x, const void* weight, const void* scales, const void* zeros, void* out, void* parts, void* done, int m,
    int n, int k, int group_size, int is_bf16, int splits, cudaStream_t stream) {
    if (m < 1 || n % TILE_N || k % TILE_K || group_size % TILE_K) return cudaErrorInvalidValue;
    auto launch = is_bf16 ? launch_type<__nv_bfloat16> : launch_type<__half>;
    return launch(
        x, weight, scales, zeros, out, static_cast<float*>(parts), static_cast<int*>(done), m, n, k, group_size, splits,
        stream);
}
