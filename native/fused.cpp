// A CoT layer for inference, all that comes after its static context.
#include "fused.h"

#include "fused_layer.h"
#include "isa.h"

namespace COTNET_ISA {
int fused_cot(const FusedProblem* f) {
  return by_dtype<float, Bfloat16, Float16>(f->dtype, [&](auto t) { return FusedLayer<decltype(t)>(*f).run(); });
}
}
