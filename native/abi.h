// What crosses the boundary to Python: one problem struct for each kernel, sizes and strides first, then addresses.
// src/cotnet/ops/native_library.py packs the same fields in the same order.
//
// Legend, for all of native/:
//   N batch, C channels, H x W input size, I x J output size, k kernel size, T taps = k * k
//   G heads: weight maps, each a k x k window of weights at every pixel, shared by C / G channels
//   B groups: independent parts of the channels, with G / B heads each
// Strides count elements, not bytes.
#pragma once

#include <cstdint>

enum Dtype : int64_t { kFloat32, kFloat64, kBfloat16, kFloat16 };

enum Status : int { kOk, kOutOfMemory, kUnsupportedDtype };

// cotnet::local_aggregation and its two gradients.
struct AggregateProblem {
  int64_t dtype;  // a Dtype
  int64_t num_threads;
  int64_t kernel_size, stride, dilation, groups;
  int64_t batch, channels, heads, height, width, out_h, out_w;
  int64_t value_strides[4];   // of the tensor on the input side: value or its gradient, [N, C, H, W]
  int64_t out_strides[4];     // of the tensor on the output side: output or its gradient, [N, C, I, J]
  int64_t weight_strides[5];  // of the weight or its gradient, [N, G, T, I, J]
};

// A CoT layer for inference. All feature maps are channels_last and dense; parameters are of the feature maps' dtype.
struct FusedCotProblem {
  int64_t dtype;  // a Dtype
  int64_t num_threads;
  int64_t kernel_size, dilation, groups;
  int64_t batch, channels, heads, height, width;
  int64_t hidden;    // channels between the two convolutions of the attention
  int64_t squeezed;  // channels between the two of the fusion
  int64_t static_groups;
  double eps;
  const void *x, *static_context;       // [N, C, H, W]; no static context: made from x
  const void *attention, *value;        // [N, B * T * G / B, H, W], [N, C, H, W]; null: made from x and static_context
  void* out;                            // [N, C, H, W]
  const void *norm_weight, *norm_bias;  // [B * T * G / B], in the order of `attention`
  const void* dynamic_bias;             // [C]
  const void *squeeze, *squeeze_bias;   // [squeezed, C], [squeezed]
  const void *excite, *excite_bias;     // [C, squeezed], [C]
  const void *out_scale, *out_bias;     // [C], of the norm behind the layer; null: there is none
  const void *reduce, *reduce_bias;     // panels [B * ..][2 C / B][32], [hidden]
  const void *expand, *expand_bias;     // panels [B * ..][hidden / B][32], [T * G]
  const void *project, *project_bias;   // panels [B * ..][C / B][32], [C]
  const void *static_weights, *static_bias;  // of a Conv3x3Problem with static_groups groups
};

// Groups of no more channels than this are convolved directly, not by Winograd's algorithm.
constexpr int64_t kNarrow = 16;

// A 3x3 convolution, stride 1, zero padding 1, float32 alone.
struct Conv3x3Problem {
  int64_t num_threads;
  int64_t batch, in_channels, out_channels, groups, height, width;
  int64_t relu;
  const float* x;  // [N, C, H, W], channels_last and dense
  // Transformed, [groups][16][panels][C / groups][32]; of narrow groups [groups][9][C / groups][32].
  const float* weights;
  const float* bias;  // [out_channels]
  float* out;         // [N, out_channels, H, W], channels_last
};

// What follows a BatchNorm; the last adds the residual, then applies ReLU.
enum Activation : int64_t { kIdentity, kRelu, kSilu, kAddRelu };

// BatchNorm by the statistics of the batch with what comes right after it, and the gradient of both. Feature maps are
// channels_last and dense: a row of channels for each pixel.
struct BatchNormActProblem {
  int64_t dtype;  // a Dtype, of the feature maps; all else is float32
  int64_t num_threads;
  int64_t activation;  // an Activation
  int64_t rows, channels;
  double eps, momentum;
  const void *x, *residual;    // [rows, channels]; the residual of kAddRelu alone
  void* out;                   // [rows, channels]; in the backward pass an input, of kAddRelu alone
  const float *weight, *bias;  // [channels]
  float *mean, *inverse_std;   // [channels], of the batch: written in the forward pass, read in the backward pass
  float *running_mean, *running_var;  // [channels], moved towards the batch's in the forward pass
  const void* grad_out;               // this and the rest belong to the backward pass
  void *grad_x, *grad_residual;       // [rows, channels]
  float *grad_weight, *grad_bias;     // [channels]
};

// A convolution of bytes: sums of integers plus `bias`, times `multiplier`, plus the skip, to bytes or floats. All feature
// maps are channels_last and dense, bytes unless said otherwise.
struct Int8ConvProblem {
  int64_t num_threads;
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
  int64_t num_threads;
  int64_t batch, channels, height, width, out_h, out_w;
  int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
  int64_t in_zero;
  int64_t maximum;          // else the average
  int64_t counts_padding;   // of an average: as `in_zero`, else left out
  const uint8_t* x;
  uint8_t* out;
};

// Floats [N, C, H, W] of any strides to bytes.
struct Int8QuantizeProblem {
  int64_t num_threads;
  int64_t batch, channels, height, width;
  int64_t strides[4];
  int64_t zero;
  double multiplier;  // a float, 1 / scale
  const float* x;
  uint8_t* out;
};

// A CoT layer for inference with feature maps of bytes, channels_last and dense; see int8/cot.h.
struct Int8CotProblem {
  int64_t num_threads;
  int64_t kernel_size, dilation, groups, static_groups;
  int64_t batch, channels, heads, height, width;
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

// The two inputs in the order of the op's schema, then the output.
using AggregateKernel = int (*)(const AggregateProblem*, const void*, const void*, void*);
template <class Problem> using PackedKernel = int (*)(const Problem*);
