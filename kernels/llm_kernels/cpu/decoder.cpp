// A decoder's forward in one call: all layers in one parallel region, whose threads meet seven times a layer.
//
// Each kernel is the one that can be called alone. What is saved is what stands between them: some sixty calls from
// Python, threads that are woken for each, memory for each result. Gates and what they gate never leave the cache of
// the thread that made them. And what comes next is known: while a thread computes linear layers, it asks for the keys
// and values that it will attend to in the next layer.

#include <chrono>
#include <cstring>

#include "kernels.hpp"

struct Layer {
  const float *input_norm, *mlp_norm;
  Linear qkv, o, gate_up, down;
  Attention attention;
};

struct Decoder {
  const float *embedding, *norm;
  Linear head;
  const Layer* layers;
  int num_layers, hidden, intermediate, activation;
  float embed_scale, eps;
};

enum Kernel { EMBEDDING, NORM, LINEAR, ATTENTION };

// The seconds that a thread spends in each kind of kernel, waiting for other threads included; only if `seconds` is set.
class Clock {
 public:
  void start(double* seconds) { seconds_ = seconds, last_ = std::chrono::steady_clock::now(); }

  void lap(Kernel kernel) {
    if (!seconds_) return;
    const auto now = std::chrono::steady_clock::now();
    seconds_[kernel] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }

 private:
  double* seconds_ = nullptr;
  std::chrono::steady_clock::time_point last_;
};

// Move these rows of x, which ascend, to its front: after the last attention a token needs no other token.
static void keep(float* x, long size, const int64_t* rows, int num_rows) {
#pragma omp single
  for (long i = 0; i < num_rows; i++) std::memmove(x + i * size, x + rows[i] * size, size * sizeof(float));
}

extern "C" {

// caches: one a layer. rows [num_rows]: tokens whose logits are wanted, ascending; not read if that is all of them.
// workspace: floats, as many for each token as two hidden states, qkv, attention's result and the intermediate state
// have. logits [num_rows, vocabulary]. seconds: of each `Kernel`, what the first thread spends is added; or none.
void decoder_forward(
    const Decoder* decoder, const int64_t* token_ids, const Batch* batch, float* const* caches, const int64_t* rows,
    int num_rows, float* workspace, float* logits, double* seconds, int threads) {
  const int tokens = batch->tokens, hidden = decoder->hidden;
  const Attention& heads = decoder->layers[0].attention;
  const long wide = (long)heads.heads * heads.head_dim;
  float *x = workspace, *h = x + (long)tokens * hidden, *attended = h + (long)tokens * hidden;
  float *inner = attended + tokens * wide, *qkv = inner + (long)tokens * decoder->intermediate;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Clock clock;
#pragma omp master
    clock.start(seconds);
#pragma omp for schedule(static)
    for (int i = 0; i < tokens; i++)
      for (int j = 0; j < hidden; j++)
        x[(long)i * hidden + j] = decoder->embedding[token_ids[i] * hidden + j] * decoder->embed_scale;
    clock.lap(EMBEDDING);
    Ahead ahead;
    auto expect = [&](int layer) {
      if (tokens != batch->sequences) return;
#pragma omp for schedule(static, 1) nowait
      for (int thread = 0; thread < threads; thread++)
        ahead.expect(caches[layer], *batch, decoder->layers[layer].attention, Share(*batch, thread, threads));
    };
    int count = tokens;
    for (int i = 0; i < decoder->num_layers; i++) {
      const Layer& layer = decoder->layers[i];
      norms(x, layer.input_norm, h, count, hidden, decoder->eps);
      clock.lap(NORM);
      linear(h, layer.qkv, qkv, count, false, &ahead);
      clock.lap(LINEAR);
      rotate_write_attend(qkv, caches[i], attended, *batch, layer.attention, threads);
      clock.lap(ATTENTION);
      if (num_rows < tokens && i + 1 == decoder->num_layers) {
        keep(x, hidden, rows, num_rows);
        keep(attended, wide, rows, num_rows);
        count = num_rows;
      }
      expect((i + 1) % decoder->num_layers);  // behind the last layer comes the next step
      linear(attended, layer.o, x, count, true, &ahead);
      clock.lap(LINEAR);
      norms(x, layer.mlp_norm, h, count, hidden, decoder->eps);
      clock.lap(NORM);
      gated_linear(h, layer.gate_up, inner, count, decoder->activation, &ahead);
      clock.lap(LINEAR);
      linear(inner, layer.down, x, count, true, &ahead);
      clock.lap(LINEAR);
    }
    norms(x, decoder->norm, h, count, hidden, decoder->eps);
    clock.lap(NORM);
    linear(h, decoder->head, logits, count, false, &ahead);
    clock.lap(LINEAR);
  }
}
}
