// Hopper's own instructions, wrapped one by one: mbarrier, the tensor memory accelerator (TMA), warpgroup products.
//
// Sources: PTX ISA 9.0, sections "mbarrier", "cp.async.bulk.tensor", "Asynchronous Warpgroup Level Matrix
// Instructions".
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

namespace hopper {

__device__ inline uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// ---- mbarrier: completes a phase when `arrivals` threads arrived and all expected bytes have landed

__device__ inline void barrier_init(uint64_t* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the copy engine; a __syncthreads() must follow.
__device__ inline void barrier_init_done() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ inline void barrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

__device__ inline void barrier_arrive_expect(uint64_t* barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

/// Waits until the phase of parity `phase` has completed. A fresh barrier counts as having completed phase 1.
__device__ inline void barrier_wait(uint64_t* barrier, uint32_t phase) {
    uint32_t done;
    do {
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done)
                     : "r"(shared_address(barrier)), "r"(phase)
                     : "memory");
    } while (!done);
}

// ---- TMA: one thread copies a box of a tensor to shared memory; the barrier counts its bytes

// clang-format off: a line of PTX, then its operands
__device__ inline void copy_2d(void* shared, const CUtensorMap* map, uint64_t* barrier, int x, int y) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
        ::"r"(shared_address(shared)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y)
        : "memory");
}

__device__ inline void copy_3d(void* shared, const CUtensorMap* map, uint64_t* barrier, int x, int y, int z) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5}], [%2];"
        ::"r"(shared_address(shared)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
        : "memory");
}

__device__ inline void copy_4d(void* shared, const CUtensorMap* map, uint64_t* barrier, int x, int y, int z, int w) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5, %6}], [%2];"
        ::"r"(shared_address(shared)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w)
        : "memory");
}
// clang-format on

/// A map of a tensor, inner dimension first, whose boxes are 128 bytes wide (64 bf16) where they are 128-byte swizzled.
/// `strides` in bytes, of dimensions 1 and up. What a box reads past the end is zero.
inline cudaError_t make_map(
    CUtensorMap* map, const void* data, int dimensions, const uint64_t* sizes, const uint64_t* strides,
    const uint32_t* box, CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
    CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B) {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    if (error != cudaSuccess) return error;
    if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
    const uint32_t steps[5] = {1, 1, 1, 1, 1};
    auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
    CUresult result = encode(
        map, type, dimensions, const_cast<void*>(data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
        swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

// ---- warpgroup products

/// Describes a 128-byte swizzled operand: rows of 128 bytes, eight of them (1024 bytes) the unit of the swizzle.
///   K-major (rows are m or n, their 64 elements are k): `leading` is not used; +32 bytes on the address is k + 16.
///   MN-major (rows are k, their 64 elements are m or n): `leading` is the distance of the next 64 columns; +2048
///   bytes is k + 16.
__device__ inline uint64_t operand(const void* shared, uint32_t leading = 16) {
    uint64_t descriptor = (shared_address(shared) & 0x3FFFF) >> 4;
    descriptor |= static_cast<uint64_t>(leading >> 4) << 16;
    descriptor |= static_cast<uint64_t>(1024 >> 4) << 32;
    descriptor |= 1ull << 62;  // 128-byte swizzle
    return descriptor;
}

/// Before the first product that reads registers written by ordinary instructions.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/// Waits until at most `pending` committed groups are under way.
template <int pending>
__device__ inline void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// clang-format off: eight registers a line, as in the PTX above them

/// d [64 x 128] (+)= A [64 x 16] B [16 x 128], both in shared memory, K-major; accumulate = 0 starts from zero.
__device__ inline void wgmma_m64n128k16(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
          "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
          "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
          "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
          "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
          "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
        : "l"(a), "l"(b), "r"(accumulate));
}

/// d [64 x 256] (+)= A [64 x 32 bytes] B [32 bytes x 256], both in shared memory, K-major; accumulate = 0 starts from
/// zero.
#define HOPPER_WGMMA_M64N256(NAME, TYPE, C, INSTRUCTION, MODIFIERS) \
    __device__ inline void NAME(TYPE (&d)[128], uint64_t a, uint64_t b, int accumulate) { \
        asm volatile( \
        "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\nwgmma.mma_async.sync.aligned." INSTRUCTION " {" \
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127" \
        "}, %128, %129, p" MODIFIERS ";\n}\n" \
        : C(d[0]), C(d[1]), C(d[2]), C(d[3]), C(d[4]), C(d[5]), C(d[6]), C(d[7]), \
          C(d[8]), C(d[9]), C(d[10]), C(d[11]), C(d[12]), C(d[13]), C(d[14]), C(d[15]), \
          C(d[16]), C(d[17]), C(d[18]), C(d[19]), C(d[20]), C(d[21]), C(d[22]), C(d[23]), \
          C(d[24]), C(d[25]), C(d[26]), C(d[27]), C(d[28]), C(d[29]), C(d[30]), C(d[31]), \
          C(d[32]), C(d[33]), C(d[34]), C(d[35]), C(d[36]), C(d[37]), C(d[38]), C(d[39]), \
          C(d[40]), C(d[41]), C(d[42]), C(d[43]), C(d[44]), C(d[45]), C(d[46]), C(d[47]), \
          C(d[48]), C(d[49]), C(d[50]), C(d[51]), C(d[52]), C(d[53]), C(d[54]), C(d[55]), \
          C(d[56]), C(d[57]), C(d[58]), C(d[59]), C(d[60]), C(d[61]), C(d[62]), C(d[63]), \
          C(d[64]), C(d[65]), C(d[66]), C(d[67]), C(d[68]), C(d[69]), C(d[70]), C(d[71]), \
          C(d[72]), C(d[73]), C(d[74]), C(d[75]), C(d[76]), C(d[77]), C(d[78]), C(d[79]), \
          C(d[80]), C(d[81]), C(d[82]), C(d[83]), C(d[84]), C(d[85]), C(d[86]), C(d[87]), \
          C(d[88]), C(d[89]), C(d[90]), C(d[91]), C(d[92]), C(d[93]), C(d[94]), C(d[95]), \
          C(d[96]), C(d[97]), C(d[98]), C(d[99]), C(d[100]), C(d[101]), C(d[102]), C(d[103]), \
          C(d[104]), C(d[105]), C(d[106]), C(d[107]), C(d[108]), C(d[109]), C(d[110]), C(d[111]), \
          C(d[112]), C(d[113]), C(d[114]), C(d[115]), C(d[116]), C(d[117]), C(d[118]), C(d[119]), \
          C(d[120]), C(d[121]), C(d[122]), C(d[123]), C(d[124]), C(d[125]), C(d[126]), C(d[127]) \
        : "l"(a), "l"(b), "r"(accumulate)); \
    }
#define HOPPER_FLOAT(x) "+f"(x)
#define HOPPER_INT(x) "+r"(x)
HOPPER_WGMMA_M64N256(wgmma_m64n256k16, float, HOPPER_FLOAT, "m64n256k16.f32.bf16.bf16", ", 1, 1, 0, 0")
HOPPER_WGMMA_M64N256(wgmma_m64n256k32_e4m3, float, HOPPER_FLOAT, "m64n256k32.f32.e4m3.e4m3", ", 1, 1")
HOPPER_WGMMA_M64N256(wgmma_m64n256k32_s8, int, HOPPER_INT, "m64n256k32.s32.s8.s8", "")
#undef HOPPER_INT
#undef HOPPER_FLOAT
#undef HOPPER_WGMMA_M64N256

/// d [64 x 128] += A [64 x 16] from registers times B [16 x 128] in shared memory, B's columns contiguous (MN-major).
__device__ inline void wgmma_m64n128k16_registers(
    float (&d)[64], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
          "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
          "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
          "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
          "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
          "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}

// clang-format on

// ---- registers between warpgroups

template <int count>
__device__ inline void registers_take() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ inline void registers_give() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}

/// 2^x to 2 ulp in one instruction; 2^-inf is 0.
__device__ inline float exp2_approximate(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// ---- accumulators to memory
//
// Lane (g, t) = (lane / 4, lane % 4) of warp w holds, of the 64 x N product, d[4 * j + 0, 1]: row 16 w + g, columns
// 8 j + 2 t, + 1, and d[4 * j + 2, 3]: the same columns of row 16 w + g + 8.

__device__ inline uint32_t pack_bf16(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}

/// Transposes 4 x 4 words over the four lanes of a quad: lane t ends up with word t of lanes 0 to 3.
__device__ inline uint4 quad_transpose(uint4 v) {
    const int t = threadIdx.x & 3;
    // clang-format off: an exchange, then what it changes
    // Exchange with the lane two away, then with the neighbour.
    uint32_t a = __shfl_xor_sync(~0u, t & 2 ? v.x : v.z, 2), b = __shfl_xor_sync(~0u, t & 2 ? v.y : v.w, 2);
    if (t & 2) { v.x = a; v.y = b; } else { v.z = a; v.w = b; }
    uint32_t c = __shfl_xor_sync(~0u, t & 1 ? v.x : v.y, 1), d = __shfl_xor_sync(~0u, t & 1 ? v.z : v.w, 1);
    if (t & 1) { v.x = c; v.z = d; } else { v.y = c; v.w = d; }
    // clang-format on
    return v;
}

/// Stores the rows of a warpgroup's 64 x N product as bf16, 16 bytes a lane, 64 contiguous bytes a quad. `out` points
/// at the product's first element; rows from `rows` on are left out.
template <int N>
__device__ inline void store_bf16(const float (&d)[N / 2], __nv_bfloat16* out, int64_t stride, int rows) {
    const int lane = threadIdx.x & 31, warp = (threadIdx.x & 127) >> 5;
    const int row = warp * 16 + lane / 4, t = lane & 3;
#pragma unroll
    for (int j = 0; j < N / 8; j += 4) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint4 v = quad_transpose(make_uint4(
                pack_bf16(d[4 * j + 2 * half], d[4 * j + 2 * half + 1]),
                pack_bf16(d[4 * j + 4 + 2 * half], d[4 * j + 5 + 2 * half]),
                pack_bf16(d[4 * j + 8 + 2 * half], d[4 * j + 9 + 2 * half]),
                pack_bf16(d[4 * j + 12 + 2 * half], d[4 * j + 13 + 2 * half])));
            if (row + 8 * half < rows) *reinterpret_cast<uint4*>(out + (row + 8 * half) * stride + 8 * (j + t)) = v;
        }
    }
}

}  // namespace hopper
