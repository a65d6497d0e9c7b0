// What stands between the matrix products of a decoder: norms, gated activations, rotation and the cache's write.

#include <cstring>

#include "simd.hpp"

constexpr long WORTH_A_THREAD = 32768;  // elements; less is over before another thread has begun

// out = x / sqrt(mean(x^2) + eps) * weight, of one row; `out` may be `x`.
static void norm(const float* x, const float* weight, float* out, int size, float eps) {
  Floats squares = {};
  int i = 0;
  for (; i + LANES <= size; i += LANES) squares += load(x + i) * load(x + i);
  float total = sum(squares);
  for (; i < size; i++) total += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(total / size + eps);
  for (i = 0; i < size; i++) out[i] = x[i] * scale * weight[i];
}

static inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

struct Silu {
  Floats operator()(Floats x) const { return x * sigmoid(x); }
};
struct GeluTanh {  // (1 + tanh(y)) / 2 is the sigmoid of 2 y
  Floats operator()(Floats x) const { return x * sigmoid(1.5957691216f * (x + 0.044715f * x * x * x)); }
};
struct Gelu {
  Floats operator()(Floats x) const {
    for (int i = 0; i < LANES; i++) x[i] *= 0.5f * (1.0f + std::erf(x[i] * 0.70710678f));
    return x;
  }
};

template <typename Activation>
static void gated(const float* gate_up, float* out, int rows, int size, int threads, Activation act) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && (long)rows * size > WORTH_A_THREAD)
  for (int row = 0; row < rows; row++) {
    const float *gate = gate_up + (long)row * 2 * size, *up = gate + size;
    float* to = out + (long)row * size;
    int i = 0;
    for (; i + LANES <= size; i += LANES) store(to + i, act(load(gate + i)) * load(up + i));
    if (i < size) {
      Floats last = {};
      std::memcpy(&last, gate + i, (size - i) * sizeof(float));
      last = act(last);
      for (int j = 0; i < size; i++, j++) to[i] = last[j] * up[i];
    }
  }
}

// [a cos - b sin, b cos + a sin] of the halves a, b of the first `rotated` dimensions; `to` may be `from`.
static void rotate(const float* from, float* to, const float* cos, int head_dim, int rotated) {
  const int half = rotated / 2;
  const float* sin = cos + half;
  for (int i = 0; i < half; i++) {
    const float a = from[i], b = from[half + i];
    to[i] = a * cos[i] - b * sin[i];
    to[half + i] = b * cos[i] + a * sin[i];
  }
  for (int i = rotated; i < head_dim; i++) to[i] = from[i];
}

extern "C" {

void rms_norm(const float* x, const float* weight, float* out, int rows, int size, float eps, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && (long)rows * size > WORTH_A_THREAD)
  for (int row = 0; row < rows; row++) norm(x + (long)row * size, weight, out + (long)row * size, size, eps);
}

// x += delta; out = norm(x)
void add_rms_norm(
    float* x, const float* delta, const float* weight, float* out, int rows, int size, float eps, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && (long)rows * size > WORTH_A_THREAD)
  for (int row = 0; row < rows; row++) {
    float* total = x + (long)row * size;
    for (int i = 0; i < size; i++) total[i] += delta[(long)row * size + i];
    norm(total, weight, out + (long)row * size, size, eps);
  }
}

// kind: 0 silu, 1 gelu by tanh, 2 gelu
void gated_activation(const float* gate_up, float* out, int rows, int size, int kind, int threads) {
  if (kind == 0) gated(gate_up, out, rows, size, threads, Silu());
  if (kind == 1) gated(gate_up, out, rows, size, threads, GeluTanh());
  if (kind == 2) gated(gate_up, out, rows, size, threads, Gelu());
}

// Strides are of tokens, in floats. Queries are changed in place, keys go to the cache and are left as they are.
void rope_paged_kv_write(
    float* query, const float* key, const float* value, const int64_t* positions, const float* cos_sin, float* cache,
    const int64_t* slots, const float* query_norm, const float* key_norm, int tokens, int heads, int kv_heads,
    int head_dim, int rotated, long query_stride, long key_stride, long value_stride, float eps, int threads) {
  const long size = (long)(heads + 2 * kv_heads) * head_dim;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && tokens * size > WORTH_A_THREAD)
  for (int token = 0; token < tokens; token++) {
    const float* cos = cos_sin + positions[token] * rotated;
    for (int head = 0; head < heads; head++) {
      float* x = query + token * query_stride + (long)head * head_dim;
      if (query_norm) norm(x, query_norm, x, head_dim, eps);
      rotate(x, x, cos, head_dim, rotated);
    }
    if (slots[token] < 0) continue;
    float* keys = cache + slots[token] * 2 * kv_heads * head_dim;
    for (int head = 0; head < kv_heads; head++) {
      const float* x = key + token * key_stride + (long)head * head_dim;
      float* to = keys + (long)head * head_dim;
      if (key_norm) norm(x, key_norm, to, head_dim, eps);
      rotate(key_norm ? to : x, to, cos, head_dim, rotated);
    }
    std::memcpy(keys + (long)kv_heads * head_dim, value + token * value_stride, (long)kv_heads * head_dim * sizeof(float));
  }
}
}
