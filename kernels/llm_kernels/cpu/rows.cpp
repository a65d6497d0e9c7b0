// The steps between a decoder's matrix products: norms, gated activations, rotation and the cache write.

#include <cstring>

#include "kernels.hpp"
#include "simd.hpp"

constexpr long WORTH_A_THREAD = 32768;  // elements; less is over before another thread has begun

void norm(const float* x, const float* weight, float* out, int size, float eps) {
  Floats squares = {};
  int i = 0;
  for (; i + LANES <= size; i += LANES) squares += load(x + i) * load(x + i);
  float total = sum(squares);
  for (; i < size; i++) total += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(total / size + eps);
  for (i = 0; i + LANES <= size; i += LANES) store(out + i, load(x + i) * scale * load(weight + i));
  for (; i < size; i++) out[i] = x[i] * scale * weight[i];
}

void norms(const float* x, const float* weight, float* out, int rows, int size, float eps) {
#pragma omp for schedule(static)
  for (int row = 0; row < rows; row++) norm(x + (long)row * size, weight, out + (long)row * size, size, eps);
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
static void gated(const float* gate, const float* up, float* out, int size, Activation act) {
  int i = 0;
  for (; i + LANES <= size; i += LANES) store(out + i, act(load(gate + i)) * load(up + i));
  if (i < size) {
    Floats last = {};
    std::memcpy(&last, gate + i, (size - i) * sizeof(float));
    last = act(last);
    for (int j = 0; i < size; i++, j++) out[i] = last[j] * up[i];
  }
}

void gated(const float* gate, const float* up, float* out, int size, int activation) {
  if (activation == 0) gated(gate, up, out, size, Silu());
  if (activation == 1) gated(gate, up, out, size, GeluTanh());
  if (activation == 2) gated(gate, up, out, size, Gelu());
}

// [a cos - b sin, b cos + a sin] of the halves a, b of the first `rotated` dimensions; `to` may be `from`.
static void rotate(const float* from, float* to, const float* cos, int head_dim, int rotated) {
  const int half = rotated / 2;
  const float* sin = cos + half;
  int i = 0;
  for (; i + LANES <= half; i += LANES) {
    const Floats a = load(from + i), b = load(from + half + i);
    store(to + i, a * load(cos + i) - b * load(sin + i));
    store(to + half + i, b * load(cos + i) + a * load(sin + i));
  }
  for (; i < half; i++) {
    const float a = from[i], b = from[half + i];
    to[i] = a * cos[i] - b * sin[i];
    to[half + i] = b * cos[i] + a * sin[i];
  }
  for (i = rotated; i < head_dim; i++) to[i] = from[i];
}

void rotate_write(
    float* query, const float* key, const float* value, float* slot, const float* cos_sin, const Attention& shape,
    int first, int kv_heads) {
  const int size = shape.head_dim, group = shape.heads / shape.kv_heads;
  for (int head = first * group; head < (first + kv_heads) * group; head++) {
    float* x = query + (long)head * size;
    if (shape.query_norm) norm(x, shape.query_norm, x, size, shape.eps);
    rotate(x, x, cos_sin, size, shape.rotated);
  }
  if (!slot) return;
  for (int head = first; head < first + kv_heads; head++) {
    const float* x = key + (long)head * size;
    float* to = slot + (long)head * size;
    if (shape.key_norm) norm(x, shape.key_norm, to, size, shape.eps);
    rotate(shape.key_norm ? to : x, to, cos_sin, size, shape.rotated);
  }
  float* values = slot + (long)(shape.kv_heads + first) * size;
  std::memcpy(values, value + (long)first * size, (long)kv_heads * size * sizeof(float));
}

extern "C" {

void rms_norm(const float* x, const float* weight, float* out, int rows, int size, float eps, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1 && (long)rows * size > WORTH_A_THREAD)
  norms(x, weight, out, rows, size, eps);
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
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && (long)rows * size > WORTH_A_THREAD)
  for (int row = 0; row < rows; row++) {
    const float* gate = gate_up + (long)row * 2 * size;
    gated(gate, gate + size, out + (long)row * size, size, kind);
  }
}

// Strides are of tokens, in floats. Queries are changed in place, keys go to the cache and are left as they are.
void rope_paged_kv_write(
    float* query, const float* key, const float* value, const int64_t* positions, const float* cos_sin, float* cache,
    const int64_t* slots, const float* query_norm, const float* key_norm, int tokens, int heads, int kv_heads,
    int head_dim, int rotated, long query_stride, long key_stride, long value_stride, float eps, int threads) {
  Attention shape = {};
  shape.heads = heads, shape.kv_heads = kv_heads, shape.head_dim = head_dim, shape.rotated = rotated, shape.eps = eps;
  shape.query_norm = query_norm, shape.key_norm = key_norm;
  const long size = (long)kv_heads * head_dim;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && tokens * size > WORTH_A_THREAD)
  for (long i = 0; i < tokens; i++)
    rotate_write(
        query + i * query_stride, key + i * key_stride, value + i * value_stride,
        slots[i] < 0 ? nullptr : cache + slots[i] * 2 * size, cos_sin + positions[i] * rotated, shape, 0, kv_heads);
}
}
