// Flash attention, forward, for Hopper: bf16, head_dim 128, causal or not, grouped queries.
//
// A block computes 128 queries of one head: two consumer warpgroups of 64 queries each, and a producer whose one thread
// issues the TMA copies of Q, then of K and V in tiles of 128 keys, two stages each. Inside a consumer the two products
// of neighbouring tiles overlap with the softmax between them (FlashAttention-3, section 3.2):
//
//     issue  S_j = Q K_j^T          needs K_j
//     issue  O += P_{j-1} V_{j-1}   needs V_{j-1}; P from registers
//     wait for S_j; softmax(S_j)    while O's product is still under way
//     wait for O;   O *= exp2(m_{j-1} - m_j);  P_j = bf16(softmax)
//
//   shared memory    Q 32 KiB, K 2 x 32 KiB, V 2 x 32 KiB; each tile as two halves of 64 columns, rows of 128 bytes
//   registers        S 64, O 64, P 32 of a consumer's 240
//
// Source: Shah et al., "FlashAttention-3", 2024.

#include "hopper.cuh"

namespace {

constexpr int HEAD_DIM = 128, TILE_Q = 128, TILE_KV = 128, STAGES = 2, THREADS = 384;
constexpr int L2_SHARE = 8;  // K and V of the heads at work take an eighth of L2: Q and the output pass through it too
constexpr int HALF = 128 * 64;  // elements of a half tile: 128 rows of 64 columns
constexpr uint32_t TILE_BYTES = 2 * HALF * sizeof(__nv_bfloat16);

struct Shared {
    alignas(1024) __nv_bfloat16 q[2][HALF];
    alignas(1024) __nv_bfloat16 k[STAGES][2][HALF];
    alignas(1024) __nv_bfloat16 v[STAGES][2][HALF];
    uint64_t q_full, k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
};

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

struct Place {
    int head, tile;
};

/// Blocks in the order in which they start. `together` heads at a time, whose keys and values stay in L2 while all
/// their tiles read them; of those the last tiles first, since under a causal mask they see the most keys.
__device__ Place place_of(int index, int tiles, int all_heads, int together) {
    const int first = index / (tiles * together) * together, here = min(together, all_heads - first);
    const int inside = index - first * tiles;
    return {first + inside % here, tiles - 1 - inside / here};
}

/// Running softmax of the two rows that a lane holds a part of.
struct Rows {
    float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
};

__device__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ float quad_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

/// S [64 x 128] += Q [64 x 128] K [128 x 128]^T, issued and committed.
__device__ void issue_scores(float (&s)[64], const __nv_bfloat16* q, const __nv_bfloat16* k) {
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 16; i++) {
        const int half = i / 4, at = 2 * (i % 4);
        hopper::wgmma_m64n128k16(
            s, hopper::operand(q + half * HALF) + at, hopper::operand(k + half * HALF) + at, i > 0);
    }
    hopper::wgmma_commit();
}

/// O [64 x 128] += P [64 x 128] V [128 x 128], issued and committed.
__device__ void issue_output(float (&o)[64], const uint32_t (&p)[32], const __nv_bfloat16* v) {
#pragma unroll
    for (int i = 0; i < TILE_KV / 16; i++)  // 16 keys are 2048 bytes, 128 in the descriptor's units
        hopper::wgmma_m64n128k16_registers(
            o, p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3],
            hopper::operand(v, HALF * sizeof(__nv_bfloat16)) + 128 * i);
    hopper::wgmma_commit();
}

/// Keys that a row does not see become -inf. `position`: of the lane's first row among the keys; its other is 8 on.
__device__ void mask(float (&s)[64], int first_key, int keys, int position, bool causal) {
    const int column = first_key + 2 * (threadIdx.x & 3);
#pragma unroll
    for (int i = 0; i < 64; i++) {
        const int key = column + 8 * (i / 4) + (i & 1), row = position + (i & 2 ? 8 : 0);
        if (key >= keys || (causal && key > row)) s[i] = -INFINITY;
    }
}

/// Scores to weights, in place; `shrink`: what the rows' older sums and outputs are multiplied with.
__device__ void softmax(float (&s)[64], Rows& rows, float scale, float (&shrink)[2]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float top = -INFINITY;
#pragma unroll
        for (int j = 0; j < 16; j++) top = fmaxf(top, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
        top = fmaxf(quad_max(top), rows.top[r]);
        const float base = top == -INFINITY ? 0.f : top * scale;
        shrink[r] = hopper::exp2_approximate(rows.top[r] * scale - base);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 16; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float& x = s[4 * j + 2 * r + e];
                x = hopper::exp2_approximate(x * scale - base);
                sum += x;
            }
        rows.total[r] = rows.total[r] * shrink[r] + sum;
        rows.top[r] = top;
    }
}

__device__ void to_operand(const float (&s)[64], uint32_t (&p)[32]) {
#pragma unroll
    for (int i = 0; i < 32; i++) p[i] = hopper::pack_bf16(s[2 * i], s[2 * i + 1]);
}

__global__ void __launch_bounds__(THREADS, 1) flash_attention_kernel(
    const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
    const __grid_constant__ CUtensorMap v_map, __nv_bfloat16* out, int queries, int keys, int heads, int group,
    int all_heads, int together, float scale, bool causal) {
    extern __shared__ unsigned char raw[];
    Shared& shared = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~uintptr_t(1023));
    const Place place = place_of(blockIdx.x, gridDim.x / all_heads, all_heads, together);
    const int head = place.head % heads, batch = place.head / heads, tile = place.tile;
    const int warpgroup = threadIdx.x / 128, offset = keys - queries;
    const int seen = causal ? min(keys, tile * TILE_Q + TILE_Q + offset) : keys;
    const int tiles = (seen + TILE_KV - 1) / TILE_KV;
    if (threadIdx.x == 0) {
        hopper::barrier_init(&shared.q_full, 1);
        for (int s = 0; s < STAGES; s++) {
            hopper::barrier_init(&shared.k_full[s], 1);
            hopper::barrier_init(&shared.v_full[s], 1);
            hopper::barrier_init(&shared.k_empty[s], 2);
            hopper::barrier_init(&shared.v_empty[s], 2);
        }
        hopper::barrier_init_done();
    }
    __syncthreads();

    if (warpgroup == 0) {
        hopper::registers_give<24>();
        if (threadIdx.x == 0) {
            hopper::barrier_arrive_expect(&shared.q_full, TILE_BYTES);
            for (int half = 0; half < 2; half++)
                hopper::copy_4d(shared.q[half], &q_map, &shared.q_full, 64 * half, head, tile * TILE_Q, batch);
            Stage stage;
            for (int j = 0; j < tiles; j++, stage.next()) {
                const int s = stage.index;
                hopper::barrier_wait(&shared.k_empty[s], stage.phase ^ 1);
                hopper::barrier_arrive_expect(&shared.k_full[s], TILE_BYTES);
                for (int half = 0; half < 2; half++)
                    hopper::copy_4d(
                        shared.k[s][half], &k_map, &shared.k_full[s], 64 * half, head / group, j * TILE_KV, batch);
                hopper::barrier_wait(&shared.v_empty[s], stage.phase ^ 1);
                hopper::barrier_arrive_expect(&shared.v_full[s], TILE_BYTES);
                for (int half = 0; half < 2; half++)
                    hopper::copy_4d(
                        shared.v[s][half], &v_map, &shared.v_full[s], 64 * half, head / group, j * TILE_KV, batch);
            }
        }
    } else {
        hopper::registers_take<240>();
        const int consumer = warpgroup - 1, lane = threadIdx.x & 31, warp = (threadIdx.x & 127) / 32;
        const bool speaks = threadIdx.x % 128 == 0;
        const __nv_bfloat16* q = shared.q[0] + consumer * 64 * 64;
        const int first_row = tile * TILE_Q + consumer * 64;
        const int position = first_row + warp * 16 + lane / 4 + offset;
        const int open_keys = causal ? min(keys, first_row + offset + 1) : keys;  // seen by every row: no mask
        float s[64], o[64], shrink[2];
        uint32_t p[32];
        Rows rows;
#pragma unroll
        for (int i = 0; i < 64; i++) o[i] = 0;
        hopper::barrier_wait(&shared.q_full, 0);

        Stage k_stage, v_stage;
        hopper::barrier_wait(&shared.k_full[0], 0);
        hopper::wgmma_fence();
        issue_scores(s, q, shared.k[0][0]);
        hopper::wgmma_wait<0>();
        if (speaks) hopper::barrier_arrive(&shared.k_empty[0]);
        k_stage.next();
        if (TILE_KV > open_keys) mask(s, 0, keys, position, causal);
        softmax(s, rows, scale, shrink);
        to_operand(s, p);
        for (int j = 1; j < tiles; j++, k_stage.next(), v_stage.next()) {
            hopper::barrier_wait(&shared.k_full[k_stage.index], k_stage.phase);
            hopper::wgmma_fence();
            issue_scores(s, q, shared.k[k_stage.index][0]);
            hopper::barrier_wait(&shared.v_full[v_stage.index], v_stage.phase);
            issue_output(o, p, shared.v[v_stage.index][0]);
            hopper::wgmma_wait<1>();
            if (speaks) hopper::barrier_arrive(&shared.k_empty[k_stage.index]);
            if ((j + 1) * TILE_KV > open_keys) mask(s, j * TILE_KV, keys, position, causal);
            softmax(s, rows, scale, shrink);
            hopper::wgmma_wait<0>();
            if (speaks) hopper::barrier_arrive(&shared.v_empty[v_stage.index]);
#pragma unroll
            for (int i = 0; i < 64; i++) o[i] *= shrink[i & 2 ? 1 : 0];
            to_operand(s, p);
        }
        hopper::barrier_wait(&shared.v_full[v_stage.index], v_stage.phase);
        hopper::wgmma_fence();
        issue_output(o, p, shared.v[v_stage.index][0]);
        hopper::wgmma_wait<0>();

        float inverse[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float total = quad_sum(rows.total[r]);
            inverse[r] = total > 0 ? 1.f / total : 0.f;
        }
#pragma unroll
        for (int i = 0; i < 64; i++) o[i] *= inverse[i & 2 ? 1 : 0];
        const int64_t stride = int64_t(heads) * HEAD_DIM;
        __nv_bfloat16* first = out + (int64_t(batch) * queries + first_row) * stride + head * HEAD_DIM;
        hopper::store_bf16<HEAD_DIM>(o, first, stride, queries - first_row);
    }
}

cudaError_t map_heads(CUtensorMap* map, const void* data, int batch, int tokens, int heads) {
    const uint64_t row = HEAD_DIM * sizeof(__nv_bfloat16);
    const uint64_t sizes[4] = {HEAD_DIM, uint64_t(heads), uint64_t(tokens), uint64_t(batch)};
    const uint64_t strides[3] = {row, row * heads, row * heads * tokens};
    const uint32_t box[4] = {64, 1, 128, 1};
    return hopper::make_map(map, data, 4, sizes, strides, box);
}

}  // namespace

/// q, out [batch, queries, heads, 128]; k, v [batch, keys, heads / group, 128]; `scale` multiplies scores; keys >=
/// queries where causal.
extern "C" cudaError_t flash_attention(
    const void* q, const void* k, const void* v, void* out, int batch, int queries, int keys, int heads, int group,
    float scale, int causal, cudaStream_t stream) {
    CUtensorMap q_map, k_map, v_map;
    cudaError_t error = map_heads(&q_map, q, batch, queries, heads);
    if (error == cudaSuccess) error = map_heads(&k_map, k, batch, keys, heads / group);
    if (error == cudaSuccess) error = map_heads(&v_map, v, batch, keys, heads / group);
    if (error != cudaSuccess) return error;
    const int bytes = sizeof(Shared) + 1024;
    error = cudaFuncSetAttribute(flash_attention_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    int device, l2_bytes;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device);
    const int64_t bytes_a_head = int64_t(keys) * HEAD_DIM * 2 * sizeof(__nv_bfloat16);  // K and V
    const int together = group * int(max(int64_t(1), l2_bytes / L2_SHARE / bytes_a_head));
    flash_attention_kernel<<<(queries + TILE_Q - 1) / TILE_Q * batch * heads, THREADS, bytes, stream>>>(
        q_map, k_map, v_map, static_cast<__nv_bfloat16*>(out), queries, keys, heads, group, batch * heads, together,
        scale * 1.4426950408889634f, causal != 0);
    return cudaGetLastError();
}
