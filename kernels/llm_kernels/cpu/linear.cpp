// Linear layers of few rows: out[m, n] = x[m, k] weight[n, k]^T + bias[n], of weights in 32, 16, 8 or 4 bits.
//
// The weight is packed once, when it is loaded, into panels of 16 outputs (panels.hpp), which lie one behind the other.
// The sums of a tile, some rows by some panels, then stay in registers while the inputs are walked through once: each
// input costs a panel's vector of weights and, for each row, a broadcast and a multiply-add. (Goto and van de Geijn,
// "Anatomy of High-Performance Matrix Multiplication", 2008.) Beside them there is room for one prefetch: the first
// tile of a panel asks for the next panel, and those that find the panel in the cache for what comes after the layer.
//
// Of one row, bytes count: a weight is read once and used once. Weights that bfloat16 can hold exactly are kept in 16
// bits, and quantised ones as they come, and become float32 in registers: the same result from fewer bytes. From a few
// rows on, multiply-adds count, and a tile makes each vector of weights once for all of its rows.

#ifdef _OPENMP
#include <omp.h>
#endif
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "panels.hpp"

#ifdef __AVX512F__
constexpr int ROWS = 8, FEW_P = 4, MANY_P = 2;  // of a tile: up to 16 of 32 registers are sums
#else
constexpr int ROWS = 6, FEW_P = 2, MANY_P = 1;  // up to 12 of 16
#endif
constexpr int BLOCK = 48;         // rows whose inputs stay in the cache while all panels pass by
constexpr int WIDTH = 4 * PANEL;  // outputs whose gates and what they gate are computed together

// Part of a linear layer: its outputs from a panel's first on.
struct Panels {
  const Linear& w;
  long bytes;  // of a panel
  int column;

  explicit Panels(const Linear& w, int column = 0) : w(w), bytes(size(w)), column(column) {}
  const char* at() const { return (const char*)w.panels + column / PANEL * bytes; }
  Panels from(int columns) const {
    Panels rest = *this;
    rest.column += columns;
    return rest;
  }

 private:
  static long size(const Linear& w) {
    const int step = 1 << w.type;  // inputs of a word
    const long groups = w.group ? (w.inputs + w.group - 1) / w.group : 0;
    return ((w.inputs + step - 1) / step + groups * (w.zeros ? 2 : 1)) * LINE;
  }
};

// M rows by P panels. Few rows take several panels, for a multiply-add waits four cycles for the one before it.
template <int M, int P>
static void tile(Rows rows, const Panels& panels, float* out, long stride, int columns, bool add, Ahead* ahead) {
  const Linear& w = panels.w;
  Wide sum[M][P] = {};
  if (rows.bytes) multiply_bytes(rows, panels.at(), panels.bytes, w, sum, ahead);
  else if (w.type == INT4 && w.zeros) multiply<Int4, true>(rows, panels.at(), panels.bytes, w, sum, ahead);
  else if (w.type == INT4) multiply<Int4, false>(rows, panels.at(), panels.bytes, w, sum, ahead);
  else if (w.group && w.zeros) multiply<Int8Groups, true>(rows, panels.at(), panels.bytes, w, sum, ahead);
  else if (w.group) multiply<Int8Groups, false>(rows, panels.at(), panels.bytes, w, sum, ahead);
  else if (w.type == INT8) multiply<Int8, false>(rows, panels.at(), panels.bytes, w, sum, ahead);
  else if (w.type == BFLOAT16) multiply<Bfloat16, false>(rows, panels.at(), panels.bytes, w, sum, ahead);
  else multiply<Float32, false>(rows, panels.at(), panels.bytes, w, sum, ahead);
  for (int row = 0; row < M; row++)
    for (int p = 0; p < P; p++) {
      float whole[PANEL];
      store(whole, sum[row][p]);
      const int from = panels.column + p * PANEL, count = std::min(PANEL, columns - p * PANEL);
      if (rows.scales)
        for (float& value : whole) value *= rows.scales[row];
      if (w.scales)
        for (int j = 0; j < count; j++) whole[j] *= w.scales[from + j];
      if (w.bias)
        for (int j = 0; j < count; j++) whole[j] += w.bias[from + j];
      float* to = out + row * stride + p * PANEL;
      for (int j = 0; j < count; j++) to[j] = add ? to[j] + whole[j] : whole[j];
    }
}

// `count` rows, at most M, by all of `columns` outputs, which are few.
template <int M>
static void strip(int count, Rows rows, Panels panels, float* out, long stride, int columns, bool add, Ahead* ahead) {
  if constexpr (M > 1)
    if (count < M) return strip<M - 1>(count, rows, panels, out, stride, columns, add, ahead);
  constexpr int P = M == 1 ? 4 : M <= 3 ? FEW_P : MANY_P;
  int done = 0;
  auto step = [&](auto width) {
    constexpr int wide = decltype(width)::value;
    for (; done + (wide - 1) * PANEL < columns; done += wide * PANEL)
      tile<M, wide>(rows, panels.from(done), out + done, stride, columns - done, add, ahead);
  };
  step(std::integral_constant<int, P>());
  step(std::integral_constant<int, 1>());
}

// Up to BLOCK rows by any number of outputs.
static void block(Rows rows, int count, Panels panels, float* out, long stride, int columns, bool add, Ahead* ahead) {
  const int tiles = (count + ROWS - 1) / ROWS;
  const int by = tiles == 1 ? WIDTH : MANY_P * PANEL;  // these panels stay in the cache
  for (int column = 0; column < columns; column += by)
    for (int t = 0; t < tiles; t++) {
      const int row = count * t / tiles, next_row = count * (t + 1) / tiles;
      strip<ROWS>(
          next_row - row, rows.from(row), panels.from(column), out + row * stride + column, stride,
          std::min(by, columns - column), add, t > 0 ? ahead : nullptr);  // the first tile asks for the next panels
    }
}

typedef int8_t Bytes __attribute__((vector_size(LANES), aligned(1)));

// The largest magnitude; not a number if one of x is not finite.
static float magnitude(const float* x, int size) {
  Floats top = {}, finite = {};
  int i = 0;
  for (; i + LANES <= size; i += LANES) {
    const Floats value = load(x + i);
    top = max(top, max(value, -value));
    finite += value - value;
  }
  float most = largest(top), rest = sum(finite);
  for (; i < size; i++) most = std::max(most, std::fabs(x[i])), rest += x[i] - x[i];
  return most + rest;
}

// x to the nearest of e4m3's values, which have 3 bits behind the first, and below 2^-6 are multiples of 2^-9: what is
// added and subtracted again is so large that no more bits fit.
static float to_e4m3(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = std::max(bits & 0x7f800000u, 121u << 23) + (20u << 23);
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return (x + 1.5f * power) - 1.5f * power;
}

// x to the nearest integer, halves to even, up to 2^22: 1.5 * 2^23 leaves no bits behind the point.
static Floats to_integer(Floats x) { return (x + 12582912.0f) - 12582912.0f; }

// The rows as the panels read them: as they are, in the panels' order, or rounded.
class Prepared {
 public:
  Rows operator()(const float* x, const Linear& w, int count) {
    if (w.order) {
      ordered_.resize((long)count * w.inputs);
      for (int row = 0; row < count; row++)
        for (int i = 0; i < w.inputs; i++) ordered_[(long)row * w.inputs + i] = x[(long)row * w.inputs + w.order[i]];
      x = ordered_.data();
    }
    if (w.rounding == NONE) return {x, nullptr, nullptr, nullptr, w.inputs};
    scales_.resize(count);
    return w.rounding == TO_INT8 ? bytes(x, w.inputs, count) : e4m3(x, w.inputs, count);
  }

 private:
  static float scale(const float* x, int size, float most) {
    return std::max(magnitude(x, size) / most, std::numeric_limits<float>::min());
  }

  Rows bytes(const float* x, int inputs, int count) {
    const long stride = (inputs + 3) / 4 * 4;
    bytes_.assign(count * stride, 0);
    sums_.resize(count);
    for (int row = 0; row < count; row++) {
      const float* from = x + (long)row * inputs;
      const float scale = scales_[row] = this->scale(from, inputs, 127);
      int8_t* to = bytes_.data() + row * stride;
      Ints total = {};
      int i = 0;
      for (; i + LANES <= inputs; i += LANES) {
        const Ints values = __builtin_convertvector(to_integer(load(from + i) / scale), Ints);
        *(Bytes*)(to + i) = __builtin_convertvector(values, Bytes);
        total += values;
      }
      Floats rest = {};
      for (int j = 0; i + j < inputs; j++) rest[j] = from[i + j];
      const Ints values = __builtin_convertvector(to_integer(rest / scale), Ints);
      for (int j = 0; i + j < inputs; j++) to[i + j] = values[j];
      total += values;
      sums_[row] = 0;
      for (int j = 0; j < LANES; j++) sums_[row] += total[j];
    }
    return {nullptr, bytes_.data(), scales_.data(), sums_.data(), stride};
  }

  Rows e4m3(const float* x, int inputs, int count) {
    rounded_.resize((long)count * inputs);
    for (int row = 0; row < count; row++) {
      const float* from = x + (long)row * inputs;
      const float scale = scales_[row] = this->scale(from, inputs, 448);
      for (int i = 0; i < inputs; i++)
        rounded_[(long)row * inputs + i] = to_e4m3(std::min(std::max(from[i] / scale, -448.0f), 448.0f));
    }
    return {rounded_.data(), nullptr, scales_.data(), nullptr, inputs};
  }

  std::vector<float> ordered_, rounded_, scales_;
  std::vector<int8_t> bytes_;
  std::vector<int32_t> sums_;
};

// work(rows, block of rows from `row` on, how many, first column, how many) for this thread's part of rows x outputs:
// parts are whole panels and of one size, in the order of blocks.
template <typename Work>
static void share(const float* x, const Linear& w, int rows, int outputs, Work work) {
  thread_local Prepared prepared;
#ifdef _OPENMP
  const int parts = omp_get_num_threads();
#else
  const int parts = 1;
#endif
  const int blocks = (rows + BLOCK - 1) / BLOCK, panels = (outputs + PANEL - 1) / PANEL;
  const long all = (long)blocks * panels;
#pragma omp for schedule(static)
  for (int part = 0; part < parts; part++) {
    const long last = all * (part + 1) / parts;
    for (long at = all * part / parts, next; at < last; at = next) {
      next = std::min(last, (at / panels + 1) * panels);
      const int row = at / panels * BLOCK, count = std::min(BLOCK, rows - row);
      const int column = at % panels * PANEL, columns = std::min<long>(outputs - column, (next - at) * PANEL);
      work(prepared(x + (long)row * w.inputs, w, count), row, count, column, columns);
    }
  }
}

void linear(const float* x, const Linear& w, float* out, int rows, bool add, Ahead* ahead) {
  share(x, w, rows, w.outputs, [&](Rows in, int row, int count, int column, int columns) {
    block(in, count, Panels(w, column), out + (long)row * w.outputs + column, w.outputs, columns, add, ahead);
  });
}

void gated_linear(const float* x, const Linear& w, float* out, int rows, int activation, Ahead* ahead) {
  const int size = w.outputs / 2;
  share(x, w, rows, size, [&](Rows in, int row, int count, int first, int columns) {
    float gate[BLOCK * WIDTH], up[BLOCK * WIDTH];
    for (int done = 0; done < columns; done += WIDTH) {
      const int column = first + done, wide = std::min(WIDTH, columns - done);
      block(in, count, Panels(w, column), gate, WIDTH, wide, false, ahead);
      block(in, count, Panels(w, size + column), up, WIDTH, wide, false, ahead);
      for (int i = 0; i < count; i++)
        gated(gate + i * WIDTH, up + i * WIDTH, out + (long)(row + i) * size + column, wide, activation);
    }
  });
}

extern "C" {

int panel_width() { return PANEL; }

// weight [n, k], contiguous -> panels [ceil(n / 16), k, 16]; missing outputs are 0.
void pack_float32(const float* weight, float* panels, int n, int k) {
  for (int row = 0; row < (n + PANEL - 1) / PANEL * PANEL; row++) {
    float* panel = panels + (long)(row / PANEL * PANEL) * k;
    for (int i = 0; i < k; i++) panel[(long)i * PANEL + row % PANEL] = row < n ? weight[(long)row * k + i] : 0.0f;
  }
}

// weight [n, k], contiguous -> panels [ceil(n / 16), ceil(k / 2), 16, 2]; missing outputs and inputs are 0.
void pack_bfloat16(const float* weight, uint16_t* panels, int n, int k) {
  const int wide = (k + 1) / 2 * 2;
  for (int row = 0; row < (n + PANEL - 1) / PANEL * PANEL; row++)
    for (int i = 0; i < wide; i++) {
      uint32_t bits = 0;
      if (row < n && i < k) std::memcpy(&bits, weight + (long)row * k + i, sizeof bits);
      panels[(long)(row / PANEL * PANEL) * wide + (long)(i / 2 * PANEL + row % PANEL) * 2 + i % 2] = bits >> 16;
    }
}

void linear_layer(const float* x, const Linear* weight, float* out, int rows, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
  linear(x, *weight, out, rows, false);
}
}
