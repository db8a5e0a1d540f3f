// The faster of both ways for a 3x3 convolution.
#pragma once

#include "direct.h"
#include "minimal_filtering.h"

namespace {

inline int convolve(const WinogradProblem& p) {
  const bool narrow = p.in_channels <= kNarrow * p.groups && p.out_channels <= kNarrow * p.groups;
  return narrow ? DirectConv(p).run() : Winograd(p).run();
}

// Floats of its weights.
inline int64_t conv_weights(const WinogradProblem& p) {
  return p.in_channels * p.out_channels / p.groups * (p.in_channels <= kNarrow * p.groups ? 9 : 16);
}

}  // namespace
