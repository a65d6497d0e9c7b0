// Linear layers of few rows: out[m, n] = x[m, k] weight[n, k]^T + bias[n].
//
// The weight is packed once, when it is loaded, into panels of 16 outputs: for each input the weights of 16 outputs lie
// together, and panels lie one behind the other. The sums of a tile, some rows by 16 outputs, then stay in registers
// while the inputs are walked through once: each input costs one load of weights and, for each row, one broadcast and
// two multiply-adds. (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.) Beside them
// there is room for one prefetch: the first tile of a panel asks for the next panel, and those that find the panel in
// the cache for what comes after the layer.
//
// Weights that bfloat16 can hold exactly, those of every checkpoint in bfloat16, are kept in 16 bits and become float32
// in registers: the same result from half the bytes. Output j of a panel shares a 32-bit word with output j + 8, so
// that a shift and a mask give two vectors.
//
// An output is summed over its inputs in order, however many rows there are: a row's result does not depend on the rows
// beside it.

#include <cstring>
#include <type_traits>

#include "kernels.hpp"
#include "simd.hpp"

#ifdef __AVX512VL__
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 16;
#endif
constexpr int PANEL = 2 * LANES;               // outputs
constexpr int ROWS = REGISTERS == 32 ? 8 : 6;  // of a tile; two registers each
constexpr int BLOCK = 48;                      // rows whose inputs stay in the cache while all panels pass by
constexpr int WIDTH = 4 * PANEL;               // outputs that one thread takes at a time
constexpr int SPAN = 256;                      // inputs that a piece of `Ahead` is asked for beside, a line at each

static inline void weights(const float* panel, Floats& low, Floats& high) {
  low = load(panel);
  high = load(panel + LANES);
}

static inline void weights(const uint16_t* panel, Floats& low, Floats& high) {
  Words both = *(const Words*)panel;
  low = (Floats)(both << 16);
  high = (Floats)(both & 0xffff0000u);
}

// M rows by P panels. Few rows take several panels, for a multiply-add waits four cycles for the one before it.
template <int M, int P, bool ADD, typename Weight>
static void tile(
    const float* x, const Weight* panels, const float* bias, float* out, long stride, int k, int columns,
    Ahead* ahead) {
  Floats sum[M][P][2] = {};
  const long size = (long)k * PANEL;
  for (int from = 0; from < k; from += SPAN) {
    const char* next = ahead ? ahead->next(SPAN * LINE) : nullptr;
    const long step = next ? LINE : PANEL * sizeof(Weight);
    if (!next) next = (const char*)(panels + P * size + (long)from * PANEL);  // the panels that come next
    for (int i = from; i < std::min(k, from + SPAN); i++)
      for (int p = 0; p < P; p++) {
        const Weight* at = panels + p * size + (long)i * PANEL;
        __builtin_prefetch(next + p * size * sizeof(Weight) + (i - from) * step, 0, 2);  // 2: the second cache
        Floats low, high;
        weights(at, low, high);
        keep_in_register(low), keep_in_register(high);
        for (int row = 0; row < M; row++) {
          float input = x[(long)row * k + i];
          sum[row][p][0] += input * low;
          sum[row][p][1] += input * high;
        }
      }
  }
  for (int row = 0; row < M; row++)
    for (int p = 0; p < P; p++) {
      float whole[PANEL];
      store(whole, sum[row][p][0]);
      store(whole + LANES, sum[row][p][1]);
      const int count = std::min(PANEL, columns - p * PANEL);
      float* to = out + row * stride + p * PANEL;
      for (int j = 0; j < count; j++) {
        const float value = whole[j] + (bias ? bias[p * PANEL + j] : 0.0f);
        to[j] = ADD ? to[j] + value : value;
      }
    }
}

template <typename Weight>
struct Panels {
  const Weight* at;
  const float* bias;
  int k;

  Panels from(int column) const { return {at + (long)column * k, bias ? bias + column : nullptr, k}; }
};

// `rows`, at most M, by all of `columns` outputs, which are few.
template <int M, bool ADD, typename Weight>
static void strip(int rows, const float* x, Panels<Weight> panels, float* out, long stride, int columns, Ahead* ahead) {
  if constexpr (M > 1)
    if (rows < M) return strip<M - 1, ADD>(rows, x, panels, out, stride, columns, ahead);
  constexpr int P = M == 1 ? 4 : M <= 3 ? 2 : 1;
  int done = 0;
  auto step = [&](auto width) {
    constexpr int wide = decltype(width)::value;
    for (; done + (wide - 1) * PANEL < columns; done += wide * PANEL) {
      const Panels<Weight> rest = panels.from(done);
      tile<M, wide, ADD>(x, rest.at, rest.bias, out + done, stride, rest.k, columns - done, ahead);
    }
  };
  step(std::integral_constant<int, P>());
  step(std::integral_constant<int, 1>());
}

// Up to BLOCK rows by up to WIDTH outputs.
template <bool ADD, typename Weight>
static void block(const float* x, int rows, Panels<Weight> panels, float* out, long stride, int columns, Ahead* ahead) {
  const int tiles = (rows + ROWS - 1) / ROWS, by = tiles == 1 ? WIDTH : PANEL;  // one panel stays in the cache
  for (int column = 0; column < columns; column += by)
    for (int t = 0; t < tiles; t++) {
      const int row = rows * t / tiles, next_row = rows * (t + 1) / tiles;
      strip<ROWS, ADD>(
          next_row - row, x + (long)row * panels.k, panels.from(column), out + row * stride + column, stride,
          std::min(by, columns - column), t > 0 ? ahead : nullptr);  // the first tile asks for the next panel
    }
}

// work(Panels) with the panels as what they are
template <typename Work>
static void with_panels(const Linear& w, Work work) {
  if (w.halves) work(Panels<uint16_t>{(const uint16_t*)w.panels, w.bias, w.inputs});
  else work(Panels<float>{(const float*)w.panels, w.bias, w.inputs});
}

void linear(const float* x, const Linear& w, float* out, int rows, bool add, Ahead* ahead) {
  with_panels(w, [&](auto panels) {
    const int blocks = (rows + BLOCK - 1) / BLOCK, pieces = (w.outputs + WIDTH - 1) / WIDTH;
#pragma omp for collapse(2) schedule(static)
    for (int b = 0; b < blocks; b++)
      for (int piece = 0; piece < pieces; piece++) {
        const int row = b * BLOCK, column = piece * WIDTH;
        const int count = std::min(BLOCK, rows - row), columns = std::min(WIDTH, w.outputs - column);
        const float* from = x + (long)row * w.inputs;
        float* to = out + (long)row * w.outputs + column;
        if (add) block<true>(from, count, panels.from(column), to, w.outputs, columns, ahead);
        else block<false>(from, count, panels.from(column), to, w.outputs, columns, ahead);
      }
  });
}

void gated_linear(const float* x, const Linear& w, float* out, int rows, int activation, Ahead* ahead) {
  with_panels(w, [&](auto panels) {
    const int size = w.outputs / 2, blocks = (rows + BLOCK - 1) / BLOCK, pieces = (size + WIDTH - 1) / WIDTH;
#pragma omp for collapse(2) schedule(static)
    for (int b = 0; b < blocks; b++)
      for (int piece = 0; piece < pieces; piece++) {
        float gate[BLOCK * WIDTH], up[BLOCK * WIDTH];
        const int row = b * BLOCK, column = piece * WIDTH;
        const int count = std::min(BLOCK, rows - row), columns = std::min(WIDTH, size - column);
        const float* from = x + (long)row * w.inputs;
        block<false>(from, count, panels.from(column), gate, WIDTH, columns, ahead);
        block<false>(from, count, panels.from(size + column), up, WIDTH, columns, ahead);
        for (int i = 0; i < count; i++)
          gated(gate + i * WIDTH, up + i * WIDTH, out + (long)(row + i) * size + column, columns, activation);
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

void pack_bfloat16(const float* weight, uint16_t* panels, int n, int k) {
  for (int row = 0; row < (n + PANEL - 1) / PANEL * PANEL; row++) {
    const int place = row % PANEL % LANES * 2 + row % PANEL / LANES;  // j and j + 8 in one word
    for (int i = 0; i < k; i++) {
      uint32_t bits = 0;
      if (row < n) std::memcpy(&bits, weight + (long)row * k + i, sizeof bits);
      panels[(long)(row / PANEL * PANEL) * k + (long)i * PANEL + place] = bits >> 16;
    }
  }
}

void linear_layer(
    const float* x, const void* panels, const float* bias, float* out, int rows, int outputs, int inputs, int halves,
    int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
  linear(x, {panels, bias, outputs, inputs, halves}, out, rows, false);
}
}
