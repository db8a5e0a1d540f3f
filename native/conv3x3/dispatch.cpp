// cotnet::winograd_conv: a 3x3 convolution, stride 1, zero padding 1.
#include "conv3x3.h"
#include "direct.h"
#include "winograd.h"

namespace COTNET_ISA {

int conv3x3(const Conv3x3Problem& p) {
  const bool narrow = p.in_channels <= kNarrow * p.groups && p.out_channels <= kNarrow * p.groups;
  return narrow ? DirectConv(p).run() : WinogradConv(p).run();
}

int winograd_conv(const Conv3x3Problem* p) { return conv3x3(*p); }

}
