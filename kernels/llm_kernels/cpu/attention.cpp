// Causal attention of a flat batch over the paged cache [blocks, block_size, 2 (K, V), kv_heads, head_dim].
//
// A decode reads keys and values where they lie, 64 tokens at a time. First it walks through them in the order of
// memory, which is when a processor fetches ahead best; what it then computes head by head it finds in the second
// cache. The softmax is corrected as it goes (Milakov and Gimelshein, "Online normalizer calculation", 2018). Several
// queries of a sequence, a prompt's or those of guesses, first copy its keys and values of one head together, keys
// transposed, so that both products become tiles of 4 queries by 16.

#include <cstring>
#include <vector>

#include "kernels.hpp"
#include "simd.hpp"

constexpr int TILE = 4;          // queries
constexpr int WIDE = 2 * LANES;  // keys or dimensions
constexpr int CHUNK = 64;        // keys of a decode

static int padded(const Attention& shape) { return (shape.head_dim + WIDE - 1) / WIDE * WIDE; }

// Floats between rows of scores.
static long stride_of(int context_len) { return (context_len + WIDE - 1) / WIDE * WIDE + WIDE; }

struct Context {  // of one sequence, from one KV head on
  const float* cache;
  const int64_t* blocks;
  const Attention& shape;
  int head;

  const float* key(int position) const {
    const long slot = blocks[position / shape.block_size] * shape.block_size + position % shape.block_size;
    return cache + (slot * 2 * shape.kv_heads + head) * shape.head_dim;
  }
  const float* value(int position) const { return key(position) + (long)shape.kv_heads * shape.head_dim; }
};

// scores[first, last) become weights, their sum is returned; up to the next multiple of 16 they are 0.
static float softmax(float* scores, int first, int last) {
  Floats best = all(-INFINITY);
  int i = first;
  for (; i + LANES <= last; i += LANES) best = max(best, load(scores + i));
  float top = largest(best);
  for (; i < last; i++) top = std::max(top, scores[i]);
  Floats total = {};
  for (i = last; i < last + WIDE; i++) scores[i] = -INFINITY;
  for (i = first; i < last; i += LANES) {
    Floats weight = exp(load(scores + i) - top);
    store(scores + i, weight);
    if (i + LANES > last)
      for (int j = last - i; j < LANES; j++) scores[i + j] = weight[j] = 0;
    total += weight;
  }
  for (i = last; i < last + WIDE; i++) scores[i] = 0;
  return sum(total);
}

// Reads a float of each line of the cache, for nothing but to have them near.
static void walk(const float* from, long size) {
  for (long i = 0; i < size; i += LINE / sizeof(float)) (void)((const volatile float*)from)[i];
}

// scores[i] = q . keys[i], for all keys of a chunk
template <int D>
static void dot(const float* query, const float* const* keys, int offset, int count, float scale, float* scores) {
  Floats q[D];
  for (int d = 0; d < D; d++) q[d] = load(query + d * LANES);
  for (int i = 0; i < count; i += LANES) {
    Floats products[LANES];
    for (int j = 0; j < LANES; j++) {  // behind the last key its neighbours are read once more
      const float* key = keys[i + j] + offset;
      products[j] = q[0] * load(key);
      for (int d = 1; d < D; d++) products[j] += q[d] * load(key + d * LANES);
    }
    store(scores + i, sums(products) * scale);
  }
}

// sum += weights[i] * values[i], for G query heads that share them
template <int D, int G>
static void gather(const float* weights, const float* const* keys, long offset, int count, float* const* sum) {
  Floats s[G][D];
  for (int g = 0; g < G; g++)
    for (int d = 0; d < D; d++) s[g][d] = load(sum[g] + d * LANES);
  for (int i = 0; i < count; i++) {
    const float* value = keys[i] + offset;
    for (int d = 0; d < D; d++) {
      Floats v = load(value + d * LANES);
      keep_in_register(v);
      for (int g = 0; g < G; g++) s[g][d] += weights[g * CHUNK + i] * v;
    }
  }
  for (int g = 0; g < G; g++)
    for (int d = 0; d < D; d++) store(sum[g] + d * LANES, s[g][d]);
}

// One token's query of some KV heads. D: head_dim / 8, known when this is compiled.
template <int D>
static void decode(
    const float* query, float* out, const Context& context, int heads, int first, int last, float* scratch) {
  const Attention& shape = context.shape;
  const int group = shape.group(), size = shape.head_dim, rows = heads * group;
  float *scores = scratch, *tops = scores + rows * CHUNK, *totals = tops + rows;
  std::fill_n(tops, rows, -INFINITY);
  std::fill_n(totals, rows, 0.0f);
  std::fill_n(out, rows * size, 0.0f);
  for (int i = first; i < last; i += CHUNK) {
    const int count = std::min(CHUNK, last - i), padded = (count + LANES - 1) / LANES * LANES;
    const float* keys[CHUNK];
    for (int j = 0; j < count; j++) keys[j] = context.key(i + j);
    std::fill(keys + count, keys + padded, keys[count - 1]);
    for (int j = 0; j < count; j++) {
      walk(keys[j], (long)heads * size);
      walk(keys[j] + (long)shape.kv_heads * size, (long)heads * size);
    }
    for (int row = 0; row < rows; row++)
      dot<D>(query + (long)row * size, keys, row / group * size, count, shape.scale, scores + row * CHUNK);
    for (int row = 0; row < rows; row++) {
      float* weights = scores + row * CHUNK;
      std::fill(weights + count, weights + padded, -INFINITY);
      Floats best = all(tops[row]), total = {};
      for (int j = 0; j < padded; j += LANES) best = max(best, load(weights + j));
      const float top = largest(best);
      for (int j = 0; j < padded; j += LANES) {
        const Floats weight = exp(load(weights + j) - top);
        store(weights + j, weight);
        if (j + LANES <= count) total += weight;
        else
          for (int lane = 0; j + lane < count; lane++) total[lane] += weight[lane];
      }
      if (top > tops[row]) {  // what was summed so far was relative to the largest score until then
        const float correction = exp(all(tops[row] - top))[0];
        totals[row] *= correction;
        for (int d = 0; d < size; d++) out[row * size + d] *= correction;
      }
      totals[row] += sum(total);
      tops[row] = top;
    }
    for (int row = 0; row < rows;) {
      const long offset = (long)(shape.kv_heads + row / group) * size;
      float* sum[2] = {out + (long)row * size, out + (long)(row + 1) * size};
      const bool pair = row + 1 < rows && (row + 1) / group == row / group;
      (pair ? gather<D, 2> : gather<D, 1>)(scores + row * CHUNK, keys, offset, count, sum);
      row += pair ? 2 : 1;
    }
  }
  for (int row = 0; row < rows; row++)
    for (int d = 0; d < size; d++) out[row * size + d] /= totals[row];
}

// sum[r] = sum over i of left[r][i] * right[i, 16]
static void product(const float* const* left, const float* right, long stride, int from, int to, Floats sum[TILE][2]) {
  Floats s[TILE][2] = {};
  for (int i = from; i < to; i++) {
    Floats low = load(right + i * stride), high = load(right + i * stride + LANES);
    keep_in_register(low), keep_in_register(high);
    for (int r = 0; r < TILE; r++) {
      s[r][0] += left[r][i] * low;
      s[r][1] += left[r][i] * high;
    }
  }
  for (int r = 0; r < TILE; r++) sum[r][0] = s[r][0], sum[r][1] = s[r][1];
}

// Up to TILE queries against keys [context / 16, head_dim, 16] and values [context, head_dim to a multiple of 16].
static void prefill(
    const float* const* queries, float* const* outs, const int* firsts, const int* lasts, int count, const float* keys,
    const float* values, long stride, int wide, const Attention& shape, float* scores) {
  float* rows[TILE];
  const float *lefts[TILE], *weights[TILE];
  for (int r = 0; r < TILE; r++) {  // what is missing repeats the last
    lefts[r] = queries[std::min(r, count - 1)];
    weights[r] = rows[r] = scores + r * stride;
  }
  const int first = *std::min_element(firsts, firsts + count) / WIDE * WIDE;
  const int last = *std::max_element(lasts, lasts + count);
  float totals[TILE];
  Floats sum[TILE][2];
  for (int i = first; i < last; i += WIDE) {
    product(lefts, keys + (long)i * shape.head_dim, WIDE, 0, shape.head_dim, sum);
    for (int r = 0; r < TILE; r++) {
      store(rows[r] + i, sum[r][0] * shape.scale);
      store(rows[r] + i + LANES, sum[r][1] * shape.scale);
    }
  }
  for (int r = 0; r < count; r++) {
    totals[r] = softmax(rows[r], firsts[r], lasts[r]);
    std::fill(rows[r] + first, rows[r] + firsts[r], 0.0f);
    std::fill(rows[r] + lasts[r], rows[r] + last, 0.0f);
  }
  for (int d = 0; d < shape.head_dim; d += WIDE) {
    product(weights, values + d, wide, first, last, sum);
    for (int r = 0; r < count; r++) {
      const Floats low = sum[r][0] / totals[r], high = sum[r][1] / totals[r];
      store(outs[r] + d, low);
      if (d + LANES < shape.head_dim) store(outs[r] + d + LANES, high);
    }
  }
}

typedef void (*Decode)(const float*, float*, const Context&, int, int, int, float*);

static Decode decode_of(int head_dim) {
  switch (head_dim / LANES) {
#define CASE(D) \
  case D: return decode<D>;
    // clang-format off
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
    CASE(10) CASE(12) CASE(14) CASE(16) CASE(24) CASE(32)
    // clang-format on
#undef CASE
  }
  return nullptr;
}

// One sequence's queries: where they are, what comes out, and the positions that each token sees.
struct Queries {
  const float* from;
  long stride;
  float* to;
  int tokens, context_len;
  const Attention& shape;

  const float* query(int token, int head) const { return from + token * stride + (long)head * shape.head_dim; }
  float* out(int token, int head) const { return to + ((long)token * shape.heads + head) * shape.head_dim; }
  int last(int token) const { return context_len - tokens + token + 1; }
  int first(int token) const { return shape.window > 0 ? std::max(0, last(token) - shape.window) : 0; }
};

// All queries of one KV head.
static void attend_copied(const Queries& queries, const Context& context, float* scratch) {
  const Attention& shape = context.shape;
  const int group = shape.group(), count = queries.tokens * group, wide = padded(shape);
  const long stride = stride_of(queries.context_len);
  float *keys = scratch + TILE * stride, *values = keys + shape.head_dim * stride;
  for (int i = queries.first(0) / WIDE * WIDE; i < queries.context_len; i += LANES) {  // from where the tiles begin
    const int length = std::min(LANES, queries.context_len - i);
    for (int j = 0; j < length; j++)
      std::memcpy(values + (long)(i + j) * wide, context.value(i + j), shape.head_dim * sizeof(float));
    const float* from[LANES];
    for (int j = 0; j < LANES; j++) from[j] = context.key(i + std::min(j, length - 1));
    float* to = keys + (long)(i / WIDE * WIDE) * shape.head_dim + i % WIDE;
    for (int d = 0; d < shape.head_dim; d += LANES) {
      Floats block[LANES];
      for (int j = 0; j < LANES; j++) block[j] = load(from[j] + d);
      transpose(block);
      for (int j = 0; j < LANES; j++) store(to + (d + j) * WIDE, block[j]);
    }
  }
  for (int i = 0; i < count; i += TILE) {
    const int rows = std::min(TILE, count - i);
    const float* from[TILE];
    float* to[TILE];
    int firsts[TILE], lasts[TILE];
    for (int r = 0; r < rows; r++) {  // the heads of a token lie together
      const int token = (i + r) / group, head = context.head * group + (i + r) % group;
      from[r] = queries.query(token, head), to[r] = queries.out(token, head);
      firsts[r] = queries.first(token), lasts[r] = queries.last(token);
    }
    prefill(from, to, firsts, lasts, rows, keys, values, stride, wide, shape, scratch);
  }
}

// Some KV heads of one sequence.
static void attend(const Queries& queries, const float* cache, const int64_t* blocks, int first, int kv_heads) {
  static thread_local std::vector<float> scratch;
  const Attention& shape = queries.shape;
  const int group = shape.group();
  if (queries.context_len < queries.tokens) {  // a padded row
    for (int i = 0; i < queries.tokens; i++)
      std::fill_n(queries.out(i, first * group), kv_heads * group * shape.head_dim, 0.0f);
    return;
  }
  const Decode direct = decode_of(shape.head_dim);
  const bool few = direct && (queries.tokens == 1 || queries.tokens * group < TILE);  // not worth a copy
  const long room =
      few ? (long)shape.heads * (CHUNK + 2) : stride_of(queries.context_len) * (TILE + shape.head_dim + padded(shape));
  if ((long)scratch.size() < room) scratch.resize(room);
  if (few)
    for (int i = 0; i < queries.tokens; i++)
      direct(
          queries.query(i, first * group), queries.out(i, first * group), {cache, blocks, shape, first}, kv_heads,
          queries.first(i), queries.last(i), scratch.data());
  else
    for (int head = first; head < first + kv_heads; head++)
      attend_copied(queries, {cache, blocks, shape, head}, scratch.data());
}

Share::Share(const Batch& batch, int thread, int threads) {
  int64_t all = 0, seen = 0;
  for (int i = 0; i < batch.sequences; i++) all += batch.context_lens[i];
  int sequence = 0;
  auto advance = [&](int64_t share) {
    while (sequence < batch.sequences && seen + batch.context_lens[sequence] / 2 < share)
      seen += batch.context_lens[sequence++];
    return sequence;
  };
  first = advance(all * thread / threads);
  last = thread + 1 == threads ? batch.sequences : advance(all * (thread + 1) / threads);
}

// work(sequence, first KV head, KV heads) for all of them. Decodes are divided as `Share` says, so that one knows
// beforehand what a thread will read; prompts, and sequences fewer than threads, head by head.
template <typename Work>
static void divide(const Batch& batch, int kv_heads, int threads, Work work) {
  if (batch.tokens == batch.sequences && batch.sequences >= threads) {
#pragma omp for schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
      const Share share(batch, thread, threads);
      for (int sequence = share.first; sequence < share.last; sequence++) work(sequence, 0, kv_heads);
    }
  } else {
#pragma omp for collapse(2) schedule(dynamic)
    for (int sequence = 0; sequence < batch.sequences; sequence++)
      for (int head = 0; head < kv_heads; head++) work(sequence, head, 1);
  }
}

static Queries queries_of(
    int sequence, const Batch& batch, const float* query, long stride, float* out, const Attention& shape) {
  const long start = batch.starts[sequence], tokens = batch.starts[sequence + 1] - start;
  return {
      query + start * stride,
      stride,
      out + start * shape.heads * shape.head_dim,
      (int)tokens,
      (int)batch.context_lens[sequence],
      shape};
}

void rotate_write_attend(
    float* qkv, float* cache, float* out, const Batch& batch, const Attention& shape, int threads) {
  const int size = shape.head_dim, row = (shape.heads + 2 * shape.kv_heads) * size;
  divide(batch, shape.kv_heads, threads, [&](int sequence, int first, int kv_heads) {
    for (long i = batch.starts[sequence]; i < batch.starts[sequence + 1]; i++) {
      float *query = qkv + i * row, *key = query + shape.heads * size, *value = key + shape.kv_heads * size;
      float* slot = batch.slots[i] < 0 ? nullptr : cache + batch.slots[i] * 2 * shape.kv_heads * size;
      rotate_write(query, key, value, slot, shape.cos_sin + batch.positions[i] * shape.rotated, shape, first, kv_heads);
    }
    attend(
        queries_of(sequence, batch, qkv, row, out, shape), cache, batch.tables + sequence * batch.table_stride, first,
        kv_heads);
  });
}

extern "C" {

// query: token i's heads at i * query_stride floats; tables [sequences, table_stride]; starts [sequences + 1];
// out [tokens, heads, head_dim]. head_dim is a multiple of 8; window 0: all. A query that sees no key gives 0.
void paged_attention(
    const float* query, long query_stride, const float* cache, const int64_t* tables, long table_stride,
    const int64_t* context_lens, const int64_t* starts, float* out, int tokens, int sequences, int heads, int kv_heads,
    int head_dim, int block_size, int window, float scale, int threads) {
  Attention shape = {};
  shape.heads = heads, shape.kv_heads = kv_heads, shape.head_dim = head_dim;
  shape.block_size = block_size, shape.window = window, shape.scale = scale;
  const Batch batch = {nullptr, nullptr, tables, context_lens, starts, table_stride, tokens, sequences};
#pragma omp parallel num_threads(threads) if (threads > 1)
  divide(batch, kv_heads, threads, [&](int sequence, int first, int count) {
    attend(
        queries_of(sequence, batch, query, query_stride, out, shape), cache, tables + sequence * table_stride, first,
        count);
  });
}
}
