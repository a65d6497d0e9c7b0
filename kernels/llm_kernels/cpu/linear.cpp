// Linear layers of few rows: out[m, n] = x[m, k] weight[n, k]^T + bias[n].
//
// The weight is packed once, when it is loaded, into panels of 16 outputs: for each input the weights of 16 outputs lie
// together, and panels lie one behind the other. A tile of up to 6 rows by 16 outputs then stays in 12 vector registers
// while the inputs are walked through once: each input costs one load of weights, one broadcast a row, 12 multiply-adds.
// (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.)
//
// Weights that bfloat16 can hold exactly, those of every checkpoint in bfloat16, are kept in 16 bits and become float32 in
// registers: the same result from half the bytes. Output j of a panel shares a 32-bit word with output j + 8, so that a
// shift and a mask give two vectors.
//
// An output is summed over its inputs in order, however many rows there are: a row's result does not depend on the rows
// beside it.

#include <cstring>
#include <type_traits>

#include "simd.hpp"

constexpr int PANEL = 2 * LANES;  // outputs
constexpr int ROWS = 6;           // of a tile
constexpr int BLOCK = 48;         // rows whose inputs stay in the cache while all panels pass by

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
template <int M, int P, typename Weight>
static void tile(const float* x, const Weight* panels, const float* bias, float* out, int n, int k, int columns) {
  Floats sum[M][P][2] = {};
  const long size = (long)k * PANEL;
  for (int i = 0; i < k; i++)
    for (int p = 0; p < P; p++) {
      Floats low, high;
      weights(panels + p * size + (long)i * PANEL, low, high);
      for (int row = 0; row < M; row++) {
        float input = x[(long)row * k + i];
        sum[row][p][0] += input * low;
        sum[row][p][1] += input * high;
      }
    }
  for (int row = 0; row < M; row++)
    for (int p = 0; p < P; p++) {
      float whole[PANEL];
      store(whole, sum[row][p][0]);
      store(whole + LANES, sum[row][p][1]);
      const int count = std::min(PANEL, columns - p * PANEL);
      float* to = out + (long)row * n + p * PANEL;
      for (int j = 0; j < count; j++) to[j] = whole[j] + (bias ? bias[p * PANEL + j] : 0.0f);
    }
}

// M rows by all of `columns` outputs, which are few.
template <int M, typename Weight>
static void strip(const float* x, const Weight* panels, const float* bias, float* out, int n, int k, int columns) {
  constexpr int P = M == 1 ? 4 : M == 2 ? 2 : 1;
  int done = 0;
  auto step = [&](auto width) {
    constexpr int wide = decltype(width)::value;
    for (; done + (wide - 1) * PANEL < columns; done += wide * PANEL)
      tile<M, wide>(x, panels + (long)done * k, bias ? bias + done : nullptr, out + done, n, k, columns - done);
  };
  step(std::integral_constant<int, P>());
  step(std::integral_constant<int, 1>());
}

template <typename Weight>
static void linear(const float* x, const Weight* panels, const float* bias, float* out, int m, int n, int k, int threads) {
  const int width = 4 * PANEL, blocks = (m + BLOCK - 1) / BLOCK, pieces = (n + width - 1) / width;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
  for (int block = 0; block < blocks; block++)
    for (int piece = 0; piece < pieces; piece++) {
      const int first = block * BLOCK, count = std::min(BLOCK, m - first), tiles = (count + ROWS - 1) / ROWS;
      const int end = std::min(n, (piece + 1) * width), by = tiles == 1 ? width : PANEL;  // one panel stays in the cache
      for (int column = piece * width; column < end; column += by)
        for (int t = 0; t < tiles; t++) {
          const int row = first + count * t / tiles, rows = first + count * (t + 1) / tiles - row;
          const float* from = x + (long)row * k;
          const Weight* panel = panels + (long)column * k;
          const float* added = bias ? bias + column : nullptr;
          float* to = out + (long)row * n + column;
          const int columns = std::min(by, end - column);
          switch (rows) {
            case 1: strip<1>(from, panel, added, to, n, k, columns); break;
            case 2: strip<2>(from, panel, added, to, n, k, columns); break;
            case 3: strip<3>(from, panel, added, to, n, k, columns); break;
            case 4: strip<4>(from, panel, added, to, n, k, columns); break;
            case 5: strip<5>(from, panel, added, to, n, k, columns); break;
            default: strip<6>(from, panel, added, to, n, k, columns);
          }
        }
    }
}

extern "C" {

int panel_width() { return PANEL; }

// weight [n, k], contiguous -> panels [ceil(n / 16), k, 16]; missing outputs are 0.
void pack_float32(const float* weight, float* panels, int n, int k) {
  for (int row = 0; row < (n + PANEL - 1) / PANEL * PANEL; row++)
    for (int i = 0; i < k; i++)
      panels[(long)(row / PANEL * PANEL) * k + (long)i * PANEL + row % PANEL] = row < n ? weight[(long)row * k + i] : 0.0f;
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

void linear_float32(const float* x, const float* panels, const float* bias, float* out, int m, int n, int k, int threads) {
  linear(x, panels, bias, out, m, n, k, threads);
}

void linear_bfloat16(
    const float* x, const uint16_t* panels, const float* bias, float* out, int m, int n, int k, int threads) {
  linear(x, panels, bias, out, m, n, k, threads);
}
}
