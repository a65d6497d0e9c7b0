// Warpgroup products with few columns: d [64 x N] (+)= A [64 x 16] from registers times B [16 x N] in shared memory,
// K-major.
#pragma once

#include <cuda_fp16.h>

#include "hopper.cuh"

namespace hopper {

#define HOPPER_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define HOPPER_D8(i) HOPPER_D4(i), HOPPER_D4(i + 4)

// clang-format off: the PTX and its operands, a line each

/// The last argument only names the type. D, A, B, P: the operands' places in the instruction.
#define HOPPER_WGMMA_SMALL(TYPE, NAME, N, D, A, B, P, ...) \
    __device__ inline void wgmma_small( \
        float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int accumulate, TYPE*) { \
        asm volatile( \
            "{\n.reg .pred p;\nsetp.ne.b32 p, " P ", 0;\n" \
            "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." NAME "." NAME \
            " {" D "}, {" A "}, " B ", p, 1, 1, 0;\n}\n" \
            : __VA_ARGS__ \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate)); \
    }
#define HOPPER_WGMMA_SMALL_BOTH(...) \
    HOPPER_WGMMA_SMALL(__nv_bfloat16, "bf16", __VA_ARGS__) \
    HOPPER_WGMMA_SMALL(__half, "f16", __VA_ARGS__)

HOPPER_WGMMA_SMALL_BOTH(16, "%0, %1, %2, %3, %4, %5, %6, %7", "%8, %9, %10, %11", "%12", "%13",
    HOPPER_D8(0))
HOPPER_WGMMA_SMALL_BOTH(32, "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15",
    "%16, %17, %18, %19", "%20", "%21",
    HOPPER_D8(0), HOPPER_D8(8))
HOPPER_WGMMA_SMALL_BOTH(64, "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31",
    "%32, %33, %34, %35", "%36", "%37",
    HOPPER_D8(0), HOPPER_D8(8), HOPPER_D8(16), HOPPER_D8(24))

// clang-format on

#undef HOPPER_WGMMA_SMALL_BOTH
#undef HOPPER_WGMMA_SMALL
#undef HOPPER_D8
#undef HOPPER_D4

}  // namespace hopper
