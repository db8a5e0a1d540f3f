// What crosses the boundary to Python for integer networks; src/cotnet/ops/int8_*/native.py pack the same fields.
//
// All maps are channels_last and dense, bytes unless said otherwise. Legend: N batch, C channels, H x W size.
#pragma once

#include <cstdint>

// A convolution: sums of integers plus `bias`, times `multiplier`, plus the skip, to bytes or floats.
struct Int8ConvProblem {
  int64_t threads;
  int64_t batch, in_channels, out_channels, groups;
  int64_t height, width, out_h, out_w;
  int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  int64_t in_zero;               // what padding is filled with
  int64_t zero, lowest;          // of the output
  int64_t skip_zero;
  double skip_multiplier;        // a float
  const uint8_t* x;              // [N, in_channels, H, W]
  const int8_t* weights;         // panels [groups * ..][taps * inputs of a group, in whole fours][32], see multiply.h
  const int32_t* bias;           // [out_channels]
  const float* multiplier;       // [out_channels]
  const uint8_t* skip;           // as the output, or null
  uint8_t* bytes;                // the output, [N, out_channels, out_h, out_w]; null:
  float* floats;                 // the same in floats
};

// Averages or maxima of windows.
struct Int8PoolProblem {
  int64_t threads;
  int64_t batch, channels, height, width, out_h, out_w;
  int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
  int64_t in_zero;
  int64_t maximum;          // else the average
  int64_t counts_padding;   // of an average: as `in_zero`, else left out
  const uint8_t* x;
  uint8_t* out;
};

// Floats [N, C, H, W] of any strides to bytes.
struct QuantizeProblem {
  int64_t threads;
  int64_t batch, channels, height, width;
  int64_t strides[4];
  int64_t zero;
  double multiplier;  // a float, 1 / scale
  const float* x;
  uint8_t* out;
};

// A CoT layer for inference; see layer.h. G weight maps, T taps, B groups.
struct Int8LayerProblem {
  int64_t threads;
  int64_t kernel_size, dilation, groups, static_groups;
  int64_t batch, channels, maps, height, width;
  int64_t hidden;    // channels between the two convolutions of the attention
  int64_t squeezed;  // channels between the two of the fusion
  int64_t in_zero, out_zero;
  double eps, static_scale, out_multiplier;  // the latter is 1 / scale
  const uint8_t* x;
  uint8_t* out;
  const int8_t* static_weights;
  const int32_t* static_bias;
  const float* static_multiplier;
  const int8_t* reduce;            // x, then the static context, to the hidden channels
  const int32_t* reduce_bias;
  const float* reduce_multiplier;
  const int8_t* expand;            // to the attention, in floats, its channels as [B][T][G / B]
  const int32_t* expand_bias;
  const float* expand_multiplier;
  const int8_t* project;           // to the value, in floats
  const int32_t* project_bias;
  const float* project_multiplier;
  const float *norm_weight, *norm_bias;  // [B * T * G / B], in the order of the attention
  const float* dynamic_bias;             // [C]
  const float *squeeze, *squeeze_bias;   // [squeezed, C], [squeezed]
  const float *excite, *excite_bias;     // [C, squeezed], [C]
  const float *out_scale, *out_bias;     // [C], of the norm behind the layer; null: there is none
};

using Int8ConvKernel = int (*)(const Int8ConvProblem*);
using Int8PoolKernel = int (*)(const Int8PoolProblem*);
using QuantizeKernel = int (*)(const QuantizeProblem*);
using Int8LayerKernel = int (*)(const Int8LayerProblem*);
