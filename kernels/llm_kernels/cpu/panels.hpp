// Weights of a linear layer as they lie in memory, and the products of a few rows with a few panels of them.
//
// A panel holds 16 outputs and is walked through once. It is a sequence of vectors of sixteen 32-bit words, word j of
// each belongs to output j. A word holds the weights of one input (float32), two (bfloat16), four (int8) or eight
// (int4), lowest bits first, so that one load serves several inputs: shifts, masks and conversions make vectors of 16
// floats of them in registers. Int4 weights, -8 to 7, are divided into groups of inputs, and int8 weights can be. A
// group's scales, and zero points if there are any, lie before its words: weight = (value - zero point) * scale. A scale
// is applied to a group's sum.
//
// An output is summed over its inputs in order, however many rows and panels a tile has: a row's result does not depend
// on the rows beside it.
#pragma once
#include "kernels.hpp"
#include "wide.hpp"

constexpr int SPAN = 256;  // inputs that a piece of `Ahead` is asked for beside

// What linear layers read: rows of floats, or of bytes with a scale for each row and the sum of its bytes.
struct Rows {
  const float* x;
  const int8_t* bytes;
  const float* scales;
  const int32_t* sums;
  long stride;

  Rows from(int row) const {
    if (bytes) return {nullptr, bytes + row * stride, scales + row, sums + row, stride};
    return {x + row * stride, nullptr, scales ? scales + row : nullptr, nullptr, stride};
  }
};

// Addresses to prefetch while `lines` lines of panels are read: those of the next panels, or of `Ahead`.
class Next {
 public:
  Next(Ahead* ahead, const char* next_panels, long panel_bytes, int panels, int lines) {
    const char* beside = ahead ? ahead->next((long)lines * panels * LINE) : nullptr;
    at_ = beside ? beside : next_panels;
    between_ = beside ? (long)lines * LINE : panel_bytes;
  }
  void fetch(int panel, int line) const { __builtin_prefetch(at_ + panel * between_ + (long)line * LINE, 0, 2); }

 private:
  const char* at_;
  long between_;
};

struct Float32 {
  typedef Wide Word;
  static constexpr int STEP = 1;          // inputs of a word
  static constexpr bool GROUPED = false;  // whether groups of inputs have scales
  static Word load(const char* at) { return wide(at); }
  static Wide weight(Word word, int) { return word; }
};

struct Bfloat16 {
  typedef WideWords Word;
  static constexpr int STEP = 2;
  static constexpr bool GROUPED = false;
  static Word load(const char* at) { return words(at); }
  static Wide weight(Word word, int i) { return i ? upper_half(word) : lower_half(word); }
};

struct Int8 {
  typedef WideWords Word;
  static constexpr int STEP = 4;
  static constexpr bool GROUPED = false;
  static Word load(const char* at) { return words(at); }
  static Wide weight(Word word, int i) { return byte(word, i); }
};

struct Int8Groups : Int8 {
  static constexpr bool GROUPED = true;
};

struct Int4 {
  typedef WideWords Word;
  static constexpr int STEP = 8;
  static constexpr bool GROUPED = true;
  static Word load(const char* at) { return words(at); }
  static Wide weight(Word word, int i) { return nibble(word, i); }
};

#define ALWAYS_INLINE inline __attribute__((always_inline))

// An address whose vector is loaded for each use: with 16 registers the sums take those that would keep it.
static inline const char* again(const char* at) {
#if defined(__AVX__) && !defined(__AVX512F__)
  asm("" : "+r"(at));
#endif
  return at;
}

// sum += x * the weights of input i of the words at `at`, for M rows whose inputs are `stride` apart
template <typename Type, bool ZEROS, int M, int P>
static ALWAYS_INLINE void add(
    Wide (&sum)[M][P], const float* x, long stride, const char* at, long panel_bytes, int i, const Wide (&zeros)[P]) {
  Wide weights[P];
  for (int p = 0; p < P; p++) {
    weights[p] = Type::weight(Type::load(again(at + p * panel_bytes)), i);
    if constexpr (ZEROS) weights[p] = minus(weights[p], zeros[p]);
    keep_in_register(weights[p]);
  }
  for (int row = 0; row < M; row++)
    for (int p = 0; p < P; p++) add_product(sum[row][p], x[row * stride], weights[p]);
}

// result [M rows, P panels] = x [M, inputs] * panels [P, panel_bytes]
template <typename Type, bool ZEROS, int M, int P>
static void multiply(Rows rows, const char* at, long panel_bytes, const Linear& w, Wide (&result)[M][P], Ahead* ahead) {
  constexpr int STEP = Type::STEP;
  Wide sum[M][P] = {}, total[M][P] = {};  // of a group, of all groups
  const int inputs = w.inputs, section = Type::GROUPED ? w.group : SPAN;
  for (int from = 0; from < inputs; from += section) {
    const int count = std::min(section, inputs - from), whole = count / STEP;
    const char* head = at;
    Wide zeros[P] = {};
    if constexpr (Type::GROUPED) {
      for (int p = 0; p < P; p++) __builtin_prefetch(at + (P + p) * panel_bytes, 0, 2);
      at += LINE;
      if constexpr (ZEROS) {
        for (int p = 0; p < P; p++) zeros[p] = wide(at + p * panel_bytes);
        at += LINE;
      }
      for (int row = 0; row < M; row++)
        for (int p = 0; p < P; p++) sum[row][p] = Wide{};
    }
    const Next next(ahead, at + P * panel_bytes, panel_bytes, P, whole);
    const float* x = rows.x + from;
    for (int line = 0; line < whole; line++, at += LINE, x += STEP) {
      for (int p = 0; p < P; p++) next.fetch(p, line);
#pragma GCC unroll 8
      for (int i = 0; i < STEP; i++) add<Type, ZEROS>(sum, x + i, rows.stride, at, panel_bytes, i, zeros);
    }
    if (STEP > 1 && count % STEP) {  // the last word is not full
      for (int i = 0; i < count % STEP; i++) add<Type, ZEROS>(sum, x + i, rows.stride, at, panel_bytes, i, zeros);
      at += LINE;
    }
    if constexpr (Type::GROUPED)
      for (int p = 0; p < P; p++) {
        const Wide scale = wide(head + p * panel_bytes);
        for (int row = 0; row < M; row++) add_product(total[row][p], sum[row][p], scale);
      }
  }
  for (int row = 0; row < M; row++)
    for (int p = 0; p < P; p++) result[row][p] = Type::GROUPED ? total[row][p] : sum[row][p];
}

// The same for rows of bytes, whose last word is filled up with zeros: exact in 32-bit integers.
template <int M, int P>
static inline void multiply_bytes(
    Rows rows, const char* at, long panel_bytes, const Linear& w, Wide (&sum)[M][P], Ahead* ahead) {
  WideInts total[M][P] = {};
  const int lines = (w.inputs + 3) / 4;
  for (int from = 0; from < lines; from += SPAN) {
    const int count = std::min(SPAN, lines - from);
    const Next next(ahead, at + P * panel_bytes, panel_bytes, P, count);
    for (int line = 0; line < count; line++, at += LINE)
      for (int p = 0; p < P; p++) {
        const WideWords weights = words(at + p * panel_bytes);
        next.fetch(p, line);
        for (int row = 0; row < M; row++) {
          uint32_t x;
          __builtin_memcpy(&x, rows.bytes + row * rows.stride + (from + line) * 4L, sizeof x);
          add_bytes(total[row][p], weights, x);
        }
      }
  }
  for (int row = 0; row < M; row++)
    for (int p = 0; p < P; p++) sum[row][p] = to_floats(minus(total[row][p], BYTE_OFFSET * rows.sums[row]));
}
