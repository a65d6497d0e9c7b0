// Eight floats at a time, in the vector extensions of GCC and Clang: AVX2 on x86-64, pairs of NEON registers on ARM.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

constexpr int LANES = 8;
constexpr int LINE = 64;  // bytes of a line of the cache

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4)));  // aligned(4): may lie anywhere
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES), aligned(4)));

#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (Ints){__VA_ARGS__})
#endif

static inline Floats load(const float* from) { return *(const Floats*)from; }
static inline void store(float* to, Floats x) { *(Floats*)to = x; }
static inline Floats all(float x) { return Floats{} + x; }

// Load a value that is used several times only once: GCC would rather read it from memory for each use, and loads are scarce.
static inline void keep_in_register(Floats& x) {
#ifdef __AVX__
  asm("" : "+v"(x));
#else
  (void)x;
#endif
}

// Sums of neighbours: [a0+a1, a2+a3, b0+b1, b2+b3, a4+a5, a6+a7, b4+b5, b6+b7]
static inline Floats add_pairs(Floats a, Floats b) {
  return PICK(a, b, 0, 2, 8, 10, 4, 6, 12, 14) + PICK(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
}

// The sums of eight vectors, as one.
static inline Floats sums(const Floats v[LANES]) {
  Floats a = add_pairs(add_pairs(v[0], v[1]), add_pairs(v[2], v[3]));
  Floats b = add_pairs(add_pairs(v[4], v[5]), add_pairs(v[6], v[7]));
  return PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}

// v[i][j] becomes v[j][i].
static inline void transpose(Floats v[LANES]) {
  for (int i = 0; i < LANES; i += 2) {
    const Floats a = v[i], b = v[i + 1];
    v[i] = PICK(a, b, 0, 8, 1, 9, 4, 12, 5, 13), v[i + 1] = PICK(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  }
  Floats w[LANES];
  for (int i = 0; i < LANES; i += 4)
    for (int j = 0; j < 2; j++) {
      const Floats a = v[i + j], b = v[i + j + 2];
      w[i + 2 * j] = PICK(a, b, 0, 1, 8, 9, 4, 5, 12, 13), w[i + 2 * j + 1] = PICK(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; i++) {
    v[i] = PICK(w[i], w[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = PICK(w[i], w[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

static inline float sum(Floats x) {
  float total = 0;
  for (int i = 0; i < LANES; i++) total += x[i];
  return total;
}

static inline float largest(Floats x) {
  float best = x[0];
  for (int i = 1; i < LANES; i++) best = std::max(best, x[i]);
  return best;
}

static inline Floats max(Floats a, Floats b) { return a > b ? a : b; }
static inline Floats min(Floats a, Floats b) { return a < b ? a : b; }

// e^x: 2^n times a polynomial for the rest within ln 2 / 2 of 0 (Cephes' expf); below -87 it is 2^-126 or so, not 0.
static inline Floats exp(Floats x) {
  x = min(max(x, all(-87.0f)), all(88.0f));
  const float to_integer = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to an integer
  Floats n = (x * 1.44269504f + to_integer) - to_integer;
  Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return (Floats)((Ints)p + (__builtin_convertvector(n, Ints) << 23));
}
