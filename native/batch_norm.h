// What crosses the boundary to Python for BatchNorm by the statistics of the batch, with what comes right after it, in the
// order of src/cotnet/ops/batch_norm_act/native.py. Maps are channels_last and dense: one row of channels a pixel.
#pragma once

#include <cstdint>

enum Finish : int64_t { kPlain, kRelu, kSilu, kAddRelu };  // the last adds the residual, then applies ReLU

struct BatchNormProblem {
  int64_t dtype;  // a Dtype, of the maps; all else is float32
  int64_t threads, finish, rows, channels;
  double eps, momentum;
  const void *x, *residual;           // [rows, channels]; the residual of kAddRelu alone
  void* out;                          // [rows, channels]; in the backward pass an input, of kAddRelu alone
  const float *weight, *bias;         // [channels]
  float *mean, *inverse_std;          // [channels], of the batch: written in the forward pass, read in the backward pass
  float *running_mean, *running_var;  // [channels], moved towards the batch's in the forward pass
  const void* grad_out;               // the rest belongs to the backward pass
  void *grad_x, *grad_residual;       // [rows, channels]
  float *grad_weight, *grad_bias;     // [channels]
};

using BatchNormKernel = int (*)(const BatchNormProblem*);
