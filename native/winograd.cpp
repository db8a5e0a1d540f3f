// cotnet::winograd_conv: a 3x3 convolution, stride 1, zero padding 1.
#include "winograd.h"

#include "conv.h"

namespace COTNET_ISA {
int winograd_conv(const WinogradProblem* p) { return convolve(*p); }
}
