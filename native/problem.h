// The one type that crosses the boundary to Python: sizes and element strides, all of them 64-bit integers.
// src/cotnet/ops/local_aggregation/native.py packs the same fields in the same order.
//
// Legend: N batch, C channels, G weight maps, T taps = k * k, H x W input size, I x J output size.
#pragma once

#include <cstdint>

struct Problem {
  int64_t dtype;  // a Dtype
  int64_t threads;
  int64_t kernel_size, stride, dilation, blocks;
  int64_t batch, channels, maps, height, width, out_h, out_w;
  int64_t value_strides[4];   // of the map on the input side: value or its gradient, [N, C, H, W]
  int64_t out_strides[4];     // of the map on the output side: output or its gradient, [N, C, I, J]
  int64_t weight_strides[5];  // of the weight or its gradient, [N, G, T, I, J]
};

enum Dtype : int64_t { kFloat32, kFloat64, kBfloat16, kFloat16 };

enum Status : int { kDone, kOutOfMemory, kUnknownDtype };

// An op takes its two inputs in the order of the schema, then its output.
using Kernel = int (*)(const Problem*, const void*, const void*, void*);
