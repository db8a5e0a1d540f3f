// A 1x1 convolution of a tile of pixels in integers: rows of bytes times panels of weights.
//
// Weights lie in panels of kPanelWidth output channels, [panel][inputs / 4][kPanelWidth][4], filled up with zeros.
#pragma once

#include <utility>

#include "../conv3x3/panel_gemm.h"
#include "requantize.h"

namespace {

constexpr int kBlockOutputs = 2 * kLanes<float>;

// Some input channels of a run of pixels, a multiple of 4.
struct ByteInput {
  const uint8_t* first;
  int64_t pixel;  // from one pixel to the next
  int64_t channels;
};

template <int PIXELS, int VECTORS>
COTNET_INLINE void multiply_bytes(Integers (&sums)[PIXELS][VECTORS], const uint8_t* x, int64_t pixel, int64_t channels,
                                  const int8_t* weights) {
  // Few enough addresses for the registers: each serves three pixels.
  const uint8_t* third[(PIXELS + 2) / 3];
#pragma GCC unroll 8
  for (int q = 0; q < (PIXELS + 2) / 3; ++q) third[q] = opaque(x + 3 * q * pixel);
  for (int64_t k = 0; k < channels; k += 4, weights += 4 * kPanelWidth) {
    Integers w[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) w[v] = load_integers(weights + v * kVectorBytes);
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; ++p) {
      const Integers four = splat_bytes(third[p / 3] + p % 3 * pixel + k);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sums[p][v] = dot(sums[p][v], four, w[v]);
    }
  }
}

// PIXELS pixels from number `at` on times VECTORS vectors of output channels.
template <int PIXELS, int VECTORS>
void multiply_byte_block(const ByteInput* inputs, int input_count, int64_t at, const int8_t* weights, const Finish& f) {
  constexpr int64_t lanes = kLanes<float>;
  Integers sums[PIXELS][VECTORS];
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; ++v) {
    const int64_t left = f.channels - v * lanes;
    Integers bias{};
    if (left >= lanes) bias = load_integers(f.bias + v * lanes);
    else if (left > 0) memcpy(&bias, f.bias + v * lanes, size_t(left) * sizeof(int32_t));
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; ++p) sums[p][v] = bias;
  }
  for (int i = 0; i < input_count; ++i) {
    multiply_bytes(sums, inputs[i].first + at * inputs[i].pixel, inputs[i].pixel, inputs[i].channels, weights);
    weights += inputs[i].channels * kPanelWidth;
  }
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; ++v) {
    const int64_t first = v * lanes, left = f.channels - first;
    if (left >= lanes)
      finish_pixels(f, sums, v, load(f.multiplier + first), at, first, whole_bytes, put_whole_bytes, whole_store);
    else if (left > 0)
      finish_pixels(
          f, sums, v, load_first(f.multiplier + first, left), at, first,
          [left](const uint8_t* from) __attribute__((always_inline)) { return load_bytes(from, left); },
          [left](uint8_t* to, LaneBytes x) __attribute__((always_inline)) { memcpy(to, &x, size_t(left)); },
          [left](float* to, Floats x) __attribute__((always_inline)) { store_first(to, x, left); });
  }
}

using MultiplyByteBlock = void (*)(const ByteInput*, int, int64_t, const int8_t*, const Finish&);

template <int VECTORS, int... P> MultiplyByteBlock byte_block_of(int64_t pixels, std::integer_sequence<int, P...>) {
  static constexpr MultiplyByteBlock blocks[] = {multiply_byte_block<P + 1, VECTORS>...};
  return blocks[pixels - 1];
}

// The sums over the channels of all inputs, in turn, for every channel that `f` takes.
inline void multiply_byte_tile(const ByteInput* inputs, int input_count, int64_t pixels, const int8_t* panels,
                               const Finish& f) {
  int64_t channels = 0;
  for (int i = 0; i < input_count; ++i) channels += inputs[i].channels;
  for (int64_t n = 0; n < f.channels; n += kBlockOutputs) {
    const Finish some = f.from(n);
    const int8_t* weights = panels + n / kPanelWidth * kPanelWidth * channels + n % kPanelWidth * 4;
    const bool narrow = some.channels <= kLanes<float>;
    const int64_t most = narrow ? 2 * kBlockPixels : kBlockPixels, blocks = (pixels + most - 1) / most;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = pixels * b / blocks, count = pixels * (b + 1) / blocks - at;
      const auto run = narrow ? byte_block_of<1>(count, std::make_integer_sequence<int, 2 * kBlockPixels>())
                              : byte_block_of<2>(count, std::make_integer_sequence<int, kBlockPixels>());
      run(inputs, input_count, at, weights, some);
    }
  }
}

}  // namespace
