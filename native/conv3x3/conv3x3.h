// A 3x3 convolution, stride 1, zero padding 1, in the faster of two ways.
#pragma once

#include "../abi.h"

namespace COTNET_ISA {

// By Winograd's algorithm, or directly where its groups are narrow; returns a Status.
int conv3x3(const Conv3x3Problem& p);

// Floats of its weights.
inline int64_t conv3x3_weights(const Conv3x3Problem& p) {
  return p.in_channels * p.out_channels / p.groups * (p.in_channels <= kNarrow * p.groups ? 9 : 16);
}

}
