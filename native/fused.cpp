// A CoT layer for inference, all that comes after its static context.
#include "fused.h"

#include "fused_layer.h"

namespace {

int run(const FusedProblem& f) {
  switch (f.dtype) {
    case kFloat32: return FusedLayer<float>(f).run();
    case kBfloat16: return FusedLayer<Bfloat16>(f).run();
    case kFloat16: return FusedLayer<Float16>(f).run();
  }
  return kUnknownDtype;
}

}  // namespace

namespace COTNET_ISA {
int fused_cot(const FusedProblem* f) { return run(*f); }
}
