// What crosses the boundary to Python for a fused layer, in the order of src/cotnet/ops/fused_cot/native.py.
//
// All maps are channels_last and dense; parameters are of the maps' type. Legend: N batch, C channels, G weight maps,
// T taps = k * k, B groups, H x W size.
#pragma once

#include <cstdint>

struct FusedProblem {
  int64_t dtype;  // a Dtype
  int64_t threads;
  int64_t kernel_size, dilation, groups;
  int64_t batch, channels, maps, height, width;
  int64_t hidden;    // channels between the two convolutions of the attention
  int64_t squeezed;  // channels between the two of the fusion
  int64_t static_groups;
  double eps;
  const void *x, *static_context;          // [N, C, H, W]; no static context: made from x
  const void *attention, *value;           // [N, B * T * G / B, H, W], [N, C, H, W]; null: made from x and static_context
  void* out;                               // [N, C, H, W]
  const void *norm_weight, *norm_bias;     // [B * T * G / B], in the order of `attention`
  const void* dynamic_bias;                // [C]
  const void *squeeze, *squeeze_bias;      // [squeezed, C], [squeezed]
  const void *excite, *excite_bias;        // [C, squeezed], [C]
  const void *out_scale, *out_bias;        // [C], of the norm behind the layer; null: there is none
  const void *reduce, *reduce_bias;        // panels [B * ..][2 C / B][32], [hidden]
  const void *expand, *expand_bias;        // panels [B * ..][hidden / B][32], [T * G]
  const void *project, *project_bias;      // panels [B * ..][C / B][32], [C]
  const void *static_weights, *static_bias;  // of a WinogradProblem with static_groups groups
};

using FusedKernel = int (*)(const FusedProblem*);
