// What crosses the boundary to Python for a 3x3 convolution by Winograd's minimal filtering F(2x2, 3x3), float32 alone:
// src/cotnet/ops/winograd/native.py packs the same fields.
#pragma once

#include <cstdint>

// Groups of no more channels than this are done directly.
constexpr int64_t kNarrow = 16;

struct WinogradProblem {
  int64_t threads;
  int64_t batch, in_channels, out_channels, groups, height, width;
  int64_t relu;
  const float* x;        // [N, C, H, W], channels_last and dense
  const float* weights;  // [groups][16][panels][C / groups][32], transformed; of narrow groups [groups][9][C / groups][32]
  const float* bias;     // [out_channels]
  float* out;            // [N, out_channels, H, W], channels_last
};

using WinogradKernel = int (*)(const WinogradProblem*);
