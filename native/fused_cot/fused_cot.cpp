// A CoT layer for inference: cotnet::fused_context and cotnet::fused_cot.
#include "fused_cot.h"

#include "../simd/dtype.h"

namespace COTNET_ISA {
int fused_cot(const FusedCotProblem* p) {
  return for_dtype<float, Bfloat16, Float16>(p->dtype, [&](auto zero) { return FusedCot<decltype(zero)>(*p).run(); });
}
}
