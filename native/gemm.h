// A 1x1 convolution of a tile of pixels, in float32: rows of pixels times panels of weights.
//
// Weights lie in panels of kPanel output channels, [panel][input channel][kPanel], the last one filled up with zeros.
// The pixels of a block stay in registers for all input channels.
#pragma once

#include <utility>

#include "vector_math.h"

namespace {

constexpr int kPanel = 32;
// Pixels of a block: with two vectors of outputs each they fill the registers, with one of them twice as many do.
#if defined(__AVX512F__)
constexpr int kBlock = 12;
#else
constexpr int kBlock = 6;
#endif
constexpr int kColumns = 2 * kLanes<float>;
static_assert(kPanel % kColumns == 0);

// Some input channels of a run of pixels.
struct Input {
  const float* first;
  int64_t pixel;  // from one pixel to the next
  int64_t channels;
};

template <int PIXELS, int VECTORS>
COTNET_INLINE void multiply(Floats (&sums)[PIXELS][VECTORS], const float* x, int64_t pixel, int64_t channels,
                            const float* weights) {
  for (int64_t k = 0; k < channels; ++k, weights += kPanel) {
    Floats w[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) w[v] = load(weights + v * kLanes<float>);
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; ++p) {
      const Floats one = splat_float(x[p * pixel + k]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sums[p][v] += one * w[v];
    }
  }
}

struct Columns {
  const float *weights, *bias;  // no bias: null
  int64_t count;  // valid ones
  bool relu;
};

// PIXELS pixels from number `at` on times VECTORS vectors of columns. PITCH is that of all inputs' pixels, or 0 where it is
// known at run time only: then each pixel's address takes an instruction of its own.
template <int PIXELS, int VECTORS, int PITCH>
void multiply_block(const Input* inputs, int input_count, int64_t at, const Columns& columns, float* out,
                    int64_t out_pixel) {
  Floats sums[PIXELS][VECTORS] = {};
  const float* weights = columns.weights;
  for (int i = 0; i < input_count; ++i) {
    const int64_t pixel = PITCH ? PITCH : inputs[i].pixel;
    multiply(sums, inputs[i].first + at * pixel, pixel, inputs[i].channels, weights);
    weights += inputs[i].channels * kPanel;
  }
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; ++v) {
    const int64_t first = v * kLanes<float>, left = columns.count - first;
    const bool whole = left >= kLanes<float>;
    Floats bias{};
    if (columns.bias != nullptr) bias = whole ? load(columns.bias + first) : load_first(columns.bias + first, left);
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; ++p) {
      Floats y = sums[p][v] + bias;
      if (columns.relu) y = max_of(y, Floats{});
      float* to = out + (at + p) * out_pixel + first;
      if (whole) store(to, y);
      else store_first(to, y, left);
    }
  }
}

using MultiplyBlock = void (*)(const Input*, int, int64_t, const Columns&, float*, int64_t);

template <int VECTORS, int PITCH, int... P> MultiplyBlock block_of(int64_t pixels, std::integer_sequence<int, P...>) {
  static constexpr MultiplyBlock blocks[] = {multiply_block<P + 1, VECTORS, PITCH>...};
  return blocks[pixels - 1];
}

// out[pixel][n] = bias[n] + sum over the channels of all inputs, in turn; n < columns.
template <int PITCH = 0>
inline void multiply_tile(const Input* inputs, int input_count, int64_t pixels, const float* panels, const float* bias,
                          int64_t columns, bool relu, float* out, int64_t out_pixel) {
  int64_t channels = 0;
  for (int i = 0; i < input_count; ++i) channels += inputs[i].channels;
  for (int64_t n = 0; n < columns; n += kColumns) {
    const Columns some{panels + n / kPanel * kPanel * channels + n % kPanel, bias == nullptr ? bias : bias + n,
                       columns - n < kColumns ? columns - n : kColumns, relu};
    const bool narrow = some.count <= kLanes<float>;
    const int64_t most = narrow ? 2 * kBlock : kBlock, blocks = (pixels + most - 1) / most;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = pixels * b / blocks, count = pixels * (b + 1) / blocks - at;
      const auto run = narrow ? block_of<1, PITCH>(count, std::make_integer_sequence<int, 2 * kBlock>())
                              : block_of<2, PITCH>(count, std::make_integer_sequence<int, kBlock>());
      run(inputs, input_count, at, some, out + n, out_pixel);
    }
  }
}

}  // namespace
