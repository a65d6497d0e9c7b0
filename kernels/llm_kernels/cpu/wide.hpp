// Sixteen floats at a time, the outputs of a panel: one register with AVX-512, two vectors of simd.hpp without.
#pragma once
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "simd.hpp"

constexpr int PANEL = 16;  // outputs

#ifdef __AVX512F__

typedef float Wide __attribute__((vector_size(4 * PANEL), aligned(4)));
typedef int32_t WideInts __attribute__((vector_size(4 * PANEL), aligned(4)));
typedef uint32_t WideWords __attribute__((vector_size(4 * PANEL), aligned(4)));

static inline Wide wide(const void* from) { return *(const Wide*)from; }
static inline WideWords words(const void* from) { return *(const WideWords*)from; }
static inline void store(float* to, Wide x) { *(Wide*)to = x; }
static inline void keep_in_register(Wide& x) { asm("" : "+v"(x)); }

// sum += x * weight
static inline void add_product(Wide& sum, float x, Wide weight) { sum += x * weight; }
static inline void add_product(Wide& sum, Wide x, Wide y) { sum += x * y; }
static inline Wide minus(Wide x, Wide y) { return x - y; }

static inline Wide upper_half(WideWords x) { return (Wide)(x & 0xffff0000u); }
static inline Wide lower_half(WideWords x) { return (Wide)(x << 16); }
static inline Wide to_floats(WideInts x) { return __builtin_convertvector(x, Wide); }
static inline WideInts minus(WideInts x, int32_t y) { return x - y; }

// Nibble i of each word, -8 to 7: looked up, for the lookup takes the lowest 4 bits without a mask.
static inline Wide nibble(WideWords x, int i) {
  const Wide values = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
  return (Wide)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)(x >> (4 * i)), (__m512)values);
}

// Byte i of each word, -128 to 127.
static inline Wide byte(WideWords x, int i) { return to_floats((WideInts)(x << (24 - 8 * i)) >> 24); }

#else

struct Wide {
  Floats low, high;
};
struct WideInts {
  Ints low, high;
};
struct WideWords {
  Words low, high;
};

static inline Wide wide(const void* from) { return {load((const float*)from), load((const float*)from + LANES)}; }
static inline WideWords words(const void* from) { return {((const Words*)from)[0], ((const Words*)from)[1]}; }
static inline void store(float* to, Wide x) { store(to, x.low), store(to + LANES, x.high); }
static inline void keep_in_register(Wide& x) { keep_in_register(x.low), keep_in_register(x.high); }

static inline void add_product(Wide& sum, float x, Wide weight) {
  sum.low += x * weight.low;
  sum.high += x * weight.high;
}
static inline void add_product(Wide& sum, Wide x, Wide y) {
  sum.low += x.low * y.low;
  sum.high += x.high * y.high;
}
static inline Wide minus(Wide x, Wide y) { return {x.low - y.low, x.high - y.high}; }

static inline Wide upper_half(WideWords x) { return {(Floats)(x.low & 0xffff0000u), (Floats)(x.high & 0xffff0000u)}; }
static inline Wide lower_half(WideWords x) { return {(Floats)(x.low << 16), (Floats)(x.high << 16)}; }
static inline Wide to_floats(WideInts x) {
  return {__builtin_convertvector(x.low, Floats), __builtin_convertvector(x.high, Floats)};
}
static inline WideInts minus(WideInts x, int32_t y) { return {x.low - y, x.high - y}; }

static inline Wide nibble(WideWords x, int i) {
  return to_floats({(Ints)(x.low << (28 - 4 * i)) >> 28, (Ints)(x.high << (28 - 4 * i)) >> 28});
}

static inline Wide byte(WideWords x, int i) {
  return to_floats({(Ints)(x.low << (24 - 8 * i)) >> 24, (Ints)(x.high << (24 - 8 * i)) >> 24});
}

#endif

// sum += the product of the four signed bytes of each word with the four of x. With VNNI the weights' bytes are read as
// unsigned ones that are 128 larger; BYTE_OFFSET times the sum of all bytes x has to be subtracted at the end.
#if defined(__AVX512F__) && defined(__AVX512VNNI__)

constexpr int BYTE_OFFSET = 128;
static inline void add_bytes(WideInts& sum, WideWords weights, uint32_t x) {
  sum = (WideInts)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)(weights ^ 0x80808080u), _mm512_set1_epi32((int)x));
}

#else

#ifdef __AVXVNNI__

constexpr int BYTE_OFFSET = 128;
static inline void add_bytes(Ints& sum, Words weights, uint32_t x) {
  const __m256i values = _mm256_set1_epi32((int)x);
  sum = (Ints)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)(weights ^ 0x80808080u), values);
}

#elif defined(__AVX2__)

constexpr int BYTE_OFFSET = 0;
static inline void add_bytes(Ints& sum, Words weights, uint32_t x) {  // even bytes, odd bytes, as pairs of 16 bits
  const __m256i w = (__m256i)weights, values = _mm256_set1_epi32((int)x);
  const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), odd = _mm256_srai_epi16(w, 8);
  const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(values, 8), 8), x_odd = _mm256_srai_epi16(values, 8);
  sum += (Ints)_mm256_madd_epi16(even, x_even) + (Ints)_mm256_madd_epi16(odd, x_odd);
}

#else

constexpr int BYTE_OFFSET = 0;
static inline void add_bytes(Ints& sum, Words weights, uint32_t x) {
  for (int i = 0; i < 4; i++) sum += ((Ints)(weights << (24 - 8 * i)) >> 24) * ((int32_t)(x << (24 - 8 * i)) >> 24);
}

#endif

#ifdef __AVX512F__  // without VNNI
static inline void add_bytes(WideInts& sum, WideWords weights, uint32_t x) {
  Ints halves[2];
  Words both[2];
  *(WideInts*)halves = sum, *(WideWords*)both = weights;
  for (int i = 0; i < 2; i++) add_bytes(halves[i], both[i], x);
  sum = *(WideInts*)halves;
}
#else
static inline void add_bytes(WideInts& sum, WideWords weights, uint32_t x) {
  add_bytes(sum.low, weights.low, x);
  add_bytes(sum.high, weights.high, x);
}
#endif

#endif
