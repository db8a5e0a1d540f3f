// A 1x1 convolution of a tile of pixels, in float32: rows of pixels times panels of weights.
//
// Weights lie in panels of kPanelWidth output channels, [panel][input channel][kPanelWidth], the last one filled up
// with zeros.
#pragma once

#include "../simd/vector.h"

constexpr int kPanelWidth = 32;  // PANEL of src/cotnet/ops/panels.py
// Pixels of a block: with two vectors of outputs each they fill the registers, with one of them twice as many do.
#if defined(__AVX512F__)
constexpr int kBlockPixels = 12;
#else
constexpr int kBlockPixels = 6;
#endif
// A distance between pixels that the compiler knows saves an instruction for each.
constexpr int kNarrowPitch = 16;

namespace COTNET_ISA {

// Some input channels of a run of pixels.
struct GemmInput {
  const float* first;
  int64_t pixel_stride;
  int64_t channels;
};

// out[pixel][n] = bias[n] + sum over the channels of all inputs, in turn; n < outputs. No bias: null.
void multiply_panels(const GemmInput* inputs, int input_count, int64_t pixels, const float* panels, const float* bias,
                     int64_t outputs, bool relu, float* out, int64_t out_stride);

// The same, where the pixels of all inputs are kNarrowPitch apart.
void multiply_panels_narrow(const GemmInput* inputs, int input_count, int64_t pixels, const float* panels,
                            const float* bias, int64_t outputs, bool relu, float* out, int64_t out_stride);

}
