// 4-bit weights times 1 to 8 rows of x: every weight is read once, and that is the time.
//
// The tensor core multiplies 16 weight rows (its A operand) by up to 8 rows of x (its B operand), so a batch of 8 costs
// what a batch of 1 does. w4a16.cuh says how weights lie and how they are unpacked. The scale is applied to the sum of
// a group, in float32.
//
// A block owns 16 rows of the weight; its 8 or 16 warps take every 8th or 16th tile of 128 inputs and add up through
// shared memory. Memory's latency is all there is to hide, and warps hide it: 32 on a multiprocessor, each with the
// weights, scales and zeros of its next tile on their way. Measured and not kept: three tiles ahead in half as many
// warps (1.2 times the time: more instructions), two tiles ahead with x in shared memory (the same time), the ring of
// w4a16.cu (1.2 times: it begins and ends slowly).
//
// The launch, the first instructions and the first access are a fifth of the time. They overlap the kernel before
// (programmatic dependent launch): blocks start once every block of that kernel has said that it can spare its place,
// load their first weights, which no kernel writes, and wait for the kernel's end only before they read x.

#include "w4a16.cuh"

namespace {

constexpr int COLUMNS = 8, MANY_ROWS = 16384;

__device__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b, __nv_bfloat16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b, __half) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// A lane's share of a tile: words of weight rows g and g + 8, and what their group says. Lane (g, t) = (lane / 4, lane
/// % 4).
template <typename T>
struct Tile {
    uint4 words[2];
    T scale[2];
    uint8_t zero[2];
};

template <typename T>
struct Problem {
    const T* x;
    const uint4* weight;
    const T* scales;
    const uint8_t* zeros;
    T* out;
    int m, n, k, group_tiles;
};

template <typename T, bool HAS_ZEROS>
__device__ Tile<T> load_tile(const Problem<T>& p, const uint4* weight, int row, int index) {
    const int at = (p.group_tiles == 1 ? index : index / p.group_tiles) * p.n + row;
    Tile<T> tile;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        tile.words[r] = __ldcs(weight + index * 64 + 32 * r);
        tile.scale[r] = p.scales[at + 8 * r];
        tile.zero[r] = HAS_ZEROS ? p.zeros[at + 8 * r] : 8;
    }
    return tile;
}

/// Wait until the kernel before has ended and its results can be read.
__device__ void wait_for_kernel_before() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

/// total += the tile's products. `x`: of each 16 inputs, two, and the two 8 on.
/// Plain loads: a read through the read-only cache could be moved to before the wait.
template <typename T>
__device__ void multiply(const Tile<T>& tile, const T* x, float (&total)[4]) {
    uint32_t inputs[TILE_K / 8];
#pragma unroll
    for (int i = 0; i < TILE_K / 8; i++) inputs[i] = *reinterpret_cast<const uint32_t*>(x + 8 * i);
    const typename Pair<T>::type offset[2] = {offset_of<T>(tile.zero[0]), offset_of<T>(tile.zero[1])};
    float sum[4] = {};
#pragma unroll
    for (int s = 0; s < TILE_K / 16; s++) {
        uint32_t a[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t word = reinterpret_cast<const uint32_t*>(&tile.words[i % 2])[s / 2];
            a[i] = two_weights<T>(word, s % 2 * 2 + i / 2, offset[i % 2]);
        }
        mma(sum, a, inputs + 2 * s, T());
    }
#pragma unroll
    for (int i = 0; i < 4; i++) total[i] += sum[i] * to_float(tile.scale[i / 2]);
}

template <typename T, int WARPS, bool HAS_ZEROS>
__global__ void __launch_bounds__(WARPS * 32, 32 / WARPS) w4a16_gemv_kernel(const Problem<T> p) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane / 4, t = lane & 3;
    const int tiles_k = p.k / TILE_K, row = blockIdx.x * TILE_N + g;
    const uint4* weight = p.weight + int64_t(blockIdx.x) * tiles_k * 64 + lane;
    const T* x = p.x + int64_t(min(g, p.m - 1)) * p.k + 2 * t;  // past the last row: products that are not stored
    float total[4] = {};
    Tile<T> next;
    if (warp < tiles_k) next = load_tile<T, HAS_ZEROS>(p, weight, row, warp);
    wait_for_kernel_before();
    for (int index = warp; index < tiles_k; index += WARPS) {
        const Tile<T> tile = next;
        if (index + WARPS < tiles_k) next = load_tile<T, HAS_ZEROS>(p, weight, row, index + WARPS);
        multiply(tile, x + index * TILE_K, total);
    }

    // total[i]: weight row g + 8 (i / 2), row 2 t + i % 2 of x.
    __shared__ float parts[WARPS][COLUMNS][TILE_N + 1];
#pragma unroll
    for (int i = 0; i < 4; i++) parts[warp][2 * t + i % 2][g + 8 * (i / 2)] = total[i];
    __syncthreads();
    if (threadIdx.x < p.m * TILE_N) {
        const int r = threadIdx.x / TILE_N, c = threadIdx.x % TILE_N;
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += parts[w][r][c];
        p.out[int64_t(r) * p.n + blockIdx.x * TILE_N + c] = from_float<T>(sum);
    }
}

template <typename T, int WARPS>
cudaError_t launch_warps(const Problem<T>& p, cudaStream_t stream) {
    auto kernel = p.zeros ? w4a16_gemv_kernel<T, WARPS, true> : w4a16_gemv_kernel<T, WARPS, false>;
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = p.n / TILE_N;
    config.blockDim = WARPS * 32;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, p);
}

template <typename T>
cudaError_t launch_type(
    const void* x, const void* weight, const void* scales, const void* zeros, void* out, int m, int n, int k,
    int group_size, cudaStream_t stream) {
    const Problem<T> p = {
        static_cast<const T*>(x),
        static_cast<const uint4*>(weight),
        static_cast<const T*>(scales),
        static_cast<const uint8_t*>(zeros),
        static_cast<T*>(out),
        m,
        n,
        k,
        group_size / TILE_K};
    if (k >= 64 * TILE_K) return launch_warps<T, 16>(p, stream);
    // Many rows make enough small blocks; few rows need more warps in each.
    return n >= MANY_ROWS ? launch_warps<T, 4>(p, stream) : launch_warps<T, 8>(p, stream);
}

}  // namespace

/// x [m, k], scales [k / group_size, n], out [m, n] bf16 (is_bf16) or fp16; zeros [k / group_size, n] uint8 or null
/// (8).
extern "C" cudaError_t w4a16_gemv(
    const void* x, const void* weight, const void* scales, const void* zeros, void* out, int m, int n, int k,
    int group_size, int is_bf16, cudaStream_t stream) {
    if (m < 1 || m > COLUMNS || n % TILE_N || k % TILE_K || group_size % TILE_K) return cudaErrorInvalidValue;
    auto launch = is_bf16 ? launch_type<__nv_bfloat16> : launch_type<__half>;
    return launch(x, weight, scales, zeros, out, m, n, k, group_size, stream);
}
