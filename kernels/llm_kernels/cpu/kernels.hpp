// The kernels that several sources call. Each divides its work among the threads of the parallel region that it is
// called from, and all of them wait at its end; outside of such a region one thread does it all.
#pragma once
#include <algorithm>
#include <cstdint>

enum Type { FLOAT32, BFLOAT16, INT8, INT4 };
enum Rounding { NONE, TO_INT8, TO_E4M3 };

struct Linear {
  const void* panels;    // see panels.hpp
  const float* bias;     // [outputs], or none
  const float* scales;   // [outputs], each result is multiplied by its own, or none
  const int64_t* order;  // [inputs]: input i of the panels is the caller's input order[i]; or none: as they are
  int outputs, inputs, type;
  int group, zeros;  // inputs of a group, a multiple of 8, always of int4, or 0; whether groups have zero points
  int rounding;      // of each row's inputs, by a scale of its own, before they are multiplied
};

// Sequences lie one behind the other.
struct Batch {
  const int64_t* positions;     // [tokens]
  const int64_t* slots;         // [tokens] where keys and values go; below 0: nowhere
  const int64_t* tables;        // [sequences, table_stride] blocks
  const int64_t* context_lens;  // [sequences]
  const int64_t* starts;        // [sequences + 1]
  long table_stride;
  int tokens, sequences;
};

struct Attention {
  int heads, kv_heads, head_dim, block_size, rotated, window;
  float scale, eps;
  const float *cos_sin, *query_norm, *key_norm;  // norms may be none
  int group() const { return heads / kv_heads; }
};

// The sequences of a batch of decodes that one thread attends to: as many as make up its share of all contexts.
struct Share {
  int first, last;
  Share(const Batch& batch, int thread, int threads);
};

// The keys and values that a thread is going to read. Linear layers of many rows compute more than they read, and ask
// the memory for these meanwhile, piece by piece.
class Ahead {
 public:
  void expect(const float* cache, const Batch& batch, const Attention& shape, Share share) {
    cache_ = (const char*)cache, batch_ = &batch, shape_ = &shape;
    sequence_ = share.first, last_ = share.last, offset_ = 0;
    if (sequence_ < last_) block_ = first_block();
  }

  // The next `size` bytes, or the rest of a block followed by bytes that are not needed; nullptr at the end.
  const char* next(long size) {
    if (sequence_ == last_) return nullptr;
    const long bytes = (long)shape_->block_size * 2 * shape_->kv_heads * shape_->head_dim * sizeof(float);
    const char* at = cache_ + batch_->tables[sequence_ * batch_->table_stride + block_] * bytes + offset_;
    offset_ += size;
    if (offset_ < bytes) return at;
    offset_ = 0;
    if (++block_ * shape_->block_size >= batch_->context_lens[sequence_] && ++sequence_ < last_) block_ = first_block();
    return at;
  }

 private:
  long first_block() const {
    const long tokens = batch_->context_lens[sequence_];
    return shape_->window > 0 ? std::max(0L, tokens - shape_->window) / shape_->block_size : 0;
  }

  const char* cache_;
  const Batch* batch_;
  const Attention* shape_;
  int sequence_ = 0, last_ = 0;
  long block_, offset_;
};

// out [rows, outputs] = x [rows, inputs] weight^T + bias; `add`: it is added to what is in `out`
void linear(const float* x, const Linear& weight, float* out, int rows, bool add, Ahead* ahead = nullptr);

// out [rows, outputs / 2] = act(gate) * up, of a weight whose first half are gates; half of its outputs are whole
// panels
void gated_linear(const float* x, const Linear& weight, float* out, int rows, int activation, Ahead* ahead = nullptr);

// out [rows, size] = x / sqrt(mean(x^2) + eps) * weight
void norms(const float* x, const float* weight, float* out, int rows, int size, float eps);

// qkv [tokens, (heads + 2 * kv_heads) * head_dim], in which queries are rotated; out [tokens, heads * head_dim]
void rotate_write_attend(float* qkv, float* cache, float* out, const Batch& batch, const Attention& shape, int threads);

// One thread's work: of one row, or of one token's heads from `first` on.
void norm(const float* x, const float* weight, float* out, int size, float eps);
void gated(const float* gate, const float* up, float* out, int size, int activation);
void rotate_write(
    float* query, const float* key, const float* value, float* slot, const float* cos_sin, const Attention& shape,
    int first, int kv_heads);
