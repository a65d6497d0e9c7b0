// Rung 7, mma: tensor cores through mma.sync, fed by ldmatrix from shared memory that cp.async fills three stages ahead.
//
// A block of 8 warps computes 128 x 128 of c, a warp 64 x 32: per 16 of k, 4 + 2 ldmatrix feed 16 products of 16 x 8 x 16.
// Rows of a tile are 64 bytes; their 16-byte pieces are swizzled by row, so that the 8 rows of an ldmatrix fall into
// different banks. cp.async takes data to shared memory past the registers.
//
// Predicted: 6 to 8 times rung 6, 60% of cuBLAS: on Hopper mma.sync reaches about two thirds of what wgmma does.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int TILE = 128, TILE_K = 32, STAGES = 4, THREADS = 256;

/// Byte offset of 16-byte piece `piece` (0..3) of row `row` in a tile of 64-byte rows.
__device__ uint32_t place(int row, int piece) { return row * 64 + ((piece ^ (row >> 1 & 3)) << 4); }

__device__ void copy_async(uint32_t shared, const void* global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global));
}

__device__ void ldmatrix(uint32_t (&r)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared));
}

__device__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__global__ void __launch_bounds__(THREADS)
    mma_kernel(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k) {
    extern __shared__ __align__(128) unsigned char shared[];  // STAGES x (a: 128 rows of 64 bytes, b: the same)
    constexpr uint32_t OPERAND = TILE * 64, STAGE = 2 * OPERAND;
    const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, first_row = blockIdx.y * TILE,
              first_column = blockIdx.x * TILE;
    const int warp_row = warp / 4 * 64, warp_column = warp % 4 * 32, steps = k / TILE_K;

    auto fetch = [&](int step) {
        if (step < steps) {
#pragma unroll
            for (int i = 0; i < 2; i++) {  // 512 pieces an operand, 2 a thread
                const int piece = threadIdx.x + i * THREADS, row = piece / 4, part = piece % 4;
                const uint32_t to = base + step % STAGES * STAGE + place(row, part);
                copy_async(to, a + int64_t(first_row + row) * k + step * TILE_K + part * 8);
                copy_async(to + OPERAND, b + int64_t(first_column + row) * k + step * TILE_K + part * 8);
            }
        }
        asm volatile("cp.async.commit_group;");
    };

    float sum[4][4][4] = {};
    for (int s = 0; s < STAGES - 1; s++) fetch(s);
    for (int step = 0; step < steps; step++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2));
        __syncthreads();
        fetch(step + STAGES - 1);  // into the stage that everybody left before the barrier
        const uint32_t a_at = base + step % STAGES * STAGE, b_at = a_at + OPERAND;
#pragma unroll
        for (int half = 0; half < 2; half++) {  // 16 of k are two pieces
            uint32_t x[4][4], y[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++)  // lanes 0-15: rows, first piece; 16-31: the same rows, second piece
                ldmatrix(x[i], a_at + place(warp_row + 16 * i + lane % 16, 2 * half + lane / 16));
#pragma unroll
            for (int i = 0; i < 2; i++)  // 16 columns: (0-7, first piece), (0-7, second), (8-15, first), (8-15, second)
                ldmatrix(y[i], b_at + place(warp_column + 16 * i + lane / 16 * 8 + lane % 8, 2 * half + lane / 8 % 2));
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) mma(sum[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int row = first_row + warp_row + 16 * i + lane / 4 + 8 * h;
                const int column = first_column + warp_column + 8 * j + lane % 4 * 2;
                *reinterpret_cast<__nv_bfloat162*>(c + int64_t(row) * n + column) =
                    __floats2bfloat162_rn(sum[i][j][2 * h], sum[i][j][2 * h + 1]);
            }
}

/// m and n multiples of 128, k of 32.
extern "C" cudaError_t launch(
    const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k, cudaStream_t stream) {
    if (m % TILE || n % TILE || k % TILE_K) return cudaErrorInvalidValue;
    constexpr int bytes = STAGES * 2 * TILE * 64;
    cudaError_t error = cudaFuncSetAttribute(mma_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    mma_kernel<<<dim3(n / TILE, m / TILE), THREADS, bytes, stream>>>(a, b, c, m, n, k);
    return cudaGetLastError();
}
