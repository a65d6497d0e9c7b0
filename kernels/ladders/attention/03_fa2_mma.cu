// Rung 3, FlashAttention-2 on tensor cores: mma.sync for both products, each warp with 16 queries of its own.
//
// A warp's scores stay in the registers where the first product leaves them, and are, converted to bf16, the operand of
// the second: no shared memory in between, no barrier between warps inside a tile (Dao, 2023). K and V tiles of 64 keys
// are copied by cp.async, V's copy running while scores are computed; rows of 256 bytes are swizzled in 16-byte pieces.
//
// Predicted: 30 to 50 times rung 2: 250 to 330 TFLOP/s, what FlashAttention-2 itself reaches on Hopper.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int D = 128, TILE_Q = 128, TILE_K = 64, WARPS = 8, THREADS = WARPS * 32;

/// Byte offset of 16-byte piece `piece` (0..15) of row `row` in a tile of 256-byte rows.
__device__ uint32_t place(int row, int piece) { return row * 256 + ((piece ^ (row & 7)) << 4); }

__device__ void copy_tile(uint32_t shared, const __nv_bfloat16* from, int64_t stride, int rows, int wanted) {
    for (int i = threadIdx.x; i < wanted * 16; i += THREADS) {
        const int row = i / 16, piece = i % 16, bytes = row < rows ? 16 : 0;  // 0 bytes: the piece becomes zeros
        const __nv_bfloat16* at = from + min(row, rows - 1) * stride + piece * 8;
        asm volatile(
            "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared + place(row, piece)), "l"(at), "r"(bytes));
    }
    asm volatile("cp.async.commit_group;");
}

__device__ void ldmatrix(uint32_t (&r)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared));
}

__device__ void ldmatrix_transposed(uint32_t (&r)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared));
}

__device__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ uint32_t pack(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}

__global__ void __launch_bounds__(THREADS) fa2_mma_kernel(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* out, int tokens, int heads,
    float scale) {
    extern __shared__ __align__(128) unsigned char raw[];
    const uint32_t q_at = static_cast<uint32_t>(__cvta_generic_to_shared(raw));
    const uint32_t k_at = q_at + TILE_Q * 256, v_at = k_at + TILE_K * 256;
    const int head = blockIdx.x % heads, batch = blockIdx.x / heads, first = (gridDim.y - 1 - blockIdx.y) * TILE_Q;
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    const int64_t stride = int64_t(heads) * D, base = int64_t(batch) * tokens * stride + head * D;
    const int keys = min(tokens, first + TILE_Q), tiles = (keys + TILE_K - 1) / TILE_K;
    copy_tile(q_at, q + base + first * stride, stride, tokens - first, TILE_Q);
    copy_tile(k_at, k + base, stride, tokens, TILE_K);
    asm volatile("cp.async.wait_group 0;");
    __syncthreads();
    uint32_t mine[D / 16][4];
#pragma unroll
    for (int i = 0; i < D / 16; i++) ldmatrix(mine[i], q_at + place(warp * 16 + lane % 16, 2 * i + lane / 16));

    float o[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
    for (int tile = 0; tile < tiles; tile++) {
        const int start = tile * TILE_K;
        copy_tile(v_at, v + base + start * stride, stride, tokens - start, TILE_K);
        float s[TILE_K / 8][4] = {};
#pragma unroll
        for (int i = 0; i < D / 16; i++)
#pragma unroll
            for (int j = 0; j < TILE_K / 16; j++) {
                uint32_t b[4];
                ldmatrix(b, k_at + place(16 * j + lane / 16 * 8 + lane % 8, 2 * i + lane / 8 % 2));
                mma(s[2 * j], mine[i], b[0], b[1]);
                mma(s[2 * j + 1], mine[i], b[2], b[3]);
            }
        const int row = first + warp * 16 + g;
        if (start + TILE_K > first + warp * 16 || start + TILE_K > tokens)
#pragma unroll
            for (int j = 0; j < TILE_K / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int key = start + 8 * j + 2 * t + e % 2;
                    if (key > row + e / 2 * 8 || key >= tokens) s[j][e] = -INFINITY;
                }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float higher = top[r];
#pragma unroll
            for (int j = 0; j < TILE_K / 8; j++) higher = fmaxf(higher, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
            higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 1));
            higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 2));
            const float minus = higher * scale, shrink = exp2f(top[r] * scale - minus);
            float sum = 0;
#pragma unroll
            for (int j = 0; j < TILE_K / 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    s[j][2 * r + e] = exp2f(s[j][2 * r + e] * scale - minus);
                    sum += s[j][2 * r + e];
                }
            total[r] = total[r] * shrink + sum;
            top[r] = higher;
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                o[j][2 * r] *= shrink;
                o[j][2 * r + 1] *= shrink;
            }
        }
        asm volatile("cp.async.wait_group 0;");
        __syncthreads();  // V has arrived; all threads have read K
        if (tile + 1 < tiles)
            copy_tile(k_at, k + base + (start + TILE_K) * stride, stride, tokens - start - TILE_K, TILE_K);
#pragma unroll
        for (int j = 0; j < TILE_K / 16; j++) {
            const uint32_t p[4] = {
                pack(s[2 * j][0], s[2 * j][1]), pack(s[2 * j][2], s[2 * j][3]), pack(s[2 * j + 1][0], s[2 * j + 1][1]),
                pack(s[2 * j + 1][2], s[2 * j + 1][3])};
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                uint32_t b[4];
                ldmatrix_transposed(b, v_at + place(16 * j + lane % 16, 2 * c + lane / 16));
                mma(o[2 * c], p, b[0], b[1]);
                mma(o[2 * c + 1], p, b[2], b[3]);
            }
        }
        asm volatile("cp.async.wait_group 0;");
        __syncthreads();  // the next K has arrived; all threads have read V
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        total[r] += __shfl_xor_sync(~0u, total[r], 1);
        total[r] += __shfl_xor_sync(~0u, total[r], 2);
        const int row = first + warp * 16 + g + 8 * r;
        if (row < tokens)
#pragma unroll
            for (int j = 0; j < D / 8; j++)
                *reinterpret_cast<__nv_bfloat162*>(out + base + row * stride + 8 * j + 2 * t) =
                    __floats2bfloat162_rn(o[j][2 * r] / total[r], o[j][2 * r + 1] / total[r]);
    }
}

extern "C" cudaError_t launch(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* out, int batch, int tokens,
    int heads, cudaStream_t stream) {
    const int bytes = (TILE_Q + 2 * TILE_K) * 256;
    cudaError_t error = cudaFuncSetAttribute(fa2_mma_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    const dim3 grid(batch * heads, (tokens + TILE_Q - 1) / TILE_Q);
    fa2_mma_kernel<<<grid, THREADS, bytes, stream>>>(q, k, v, out, tokens, heads, rsqrtf(float(D)) * 1.44269504f);
    return cudaGetLastError();
}
