// The pixels of a block stay in registers for all input channels: with AVX-512 12 pixels x 2 vectors of outputs are 24
// sums, 2 more registers hold the weights of an input channel, and the pixels' values come as broadcasts from memory.
#include "panel_gemm.h"

#include <utility>

#include "../simd/vector_math.h"

namespace {

using COTNET_ISA::GemmInput;

constexpr int kBlockOutputs = 2 * kLanes<float>;
static_assert(kPanelWidth % kBlockOutputs == 0);

template <int PIXELS, int VECTORS> COTNET_INLINE void multiply(Floats (&sums)[PIXELS][VECTORS], const float* x,
                                                               int64_t pixel_stride, int64_t channels,
                                                               const float* weights) {
  for (int64_t k = 0; k < channels; ++k, weights += kPanelWidth) {
    Floats w[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) w[v] = load(weights + v * kLanes<float>);
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; ++p) {
      const Floats one = splat_float(x[p * pixel_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sums[p][v] += one * w[v];
    }
  }
}

struct Outputs {
  const float *weights, *bias;  // no bias: null
  int64_t count;
  bool relu;
};

// PIXELS pixels from number `at` on times VECTORS vectors of outputs. PITCH is that of all inputs' pixels, or 0 where
// it is known at run time only: then each pixel's address takes an instruction of its own.
template <int PIXELS, int VECTORS, int PITCH> void multiply_block(const GemmInput* inputs, int input_count, int64_t at,
                                                                  const Outputs& outputs, float* out,
                                                                  int64_t out_stride) {
  Floats sums[PIXELS][VECTORS] = {};
  const float* weights = outputs.weights;
  for (int i = 0; i < input_count; ++i) {
    const int64_t stride = PITCH ? PITCH : inputs[i].pixel_stride;
    multiply(sums, inputs[i].first + at * stride, stride, inputs[i].channels, weights);
    weights += inputs[i].channels * kPanelWidth;
  }
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; ++v) {
    const int64_t first = v * kLanes<float>, left = outputs.count - first;
    const bool whole = left >= kLanes<float>;
    Floats bias{};
    if (outputs.bias != nullptr) bias = whole ? load(outputs.bias + first) : load_first(outputs.bias + first, left);
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; ++p) {
      Floats y = sums[p][v] + bias;
      if (outputs.relu) y = max_of(y, Floats{});
      float* to = out + (at + p) * out_stride + first;
      if (whole) store(to, y);
      else store_first(to, y, left);
    }
  }
}

using MultiplyBlock = void (*)(const GemmInput*, int, int64_t, const Outputs&, float*, int64_t);

template <int VECTORS, int PITCH, int... P> MultiplyBlock block_of(int64_t pixels, std::integer_sequence<int, P...>) {
  static constexpr MultiplyBlock blocks[] = {multiply_block<P + 1, VECTORS, PITCH>...};
  return blocks[pixels - 1];
}

template <int PITCH> void multiply_all(const GemmInput* inputs, int input_count, int64_t pixels, const float* panels,
                                       const float* bias, int64_t outputs, bool relu, float* out, int64_t out_stride) {
  int64_t channels = 0;
  for (int i = 0; i < input_count; ++i) channels += inputs[i].channels;
  for (int64_t n = 0; n < outputs; n += kBlockOutputs) {
    const Outputs some{panels + n / kPanelWidth * kPanelWidth * channels + n % kPanelWidth,
                       bias == nullptr ? bias : bias + n, outputs - n < kBlockOutputs ? outputs - n : kBlockOutputs,
                       relu};
    const bool one_vector = some.count <= kLanes<float>;
    const int64_t most = one_vector ? 2 * kBlockPixels : kBlockPixels, blocks = (pixels + most - 1) / most;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = pixels * b / blocks, count = pixels * (b + 1) / blocks - at;
      const auto multiply = one_vector ? block_of<1, PITCH>(count, std::make_integer_sequence<int, 2 * kBlockPixels>())
                                       : block_of<2, PITCH>(count, std::make_integer_sequence<int, kBlockPixels>());
      multiply(inputs, input_count, at, some, out + n, out_stride);
    }
  }
}

}  // namespace

namespace COTNET_ISA {

void multiply_panels(const GemmInput* inputs, int input_count, int64_t pixels, const float* panels, const float* bias,
                     int64_t outputs, bool relu, float* out, int64_t out_stride) {
  multiply_all<0>(inputs, input_count, pixels, panels, bias, outputs, relu, out, out_stride);
}

void multiply_panels_narrow(const GemmInput* inputs, int input_count, int64_t pixels, const float* panels,
                            const float* bias, int64_t outputs, bool relu, float* out, int64_t out_stride) {
  multiply_all<kNarrowPitch>(inputs, input_count, pixels, panels, bias, outputs, relu, out, out_stride);
}

}
