// The name under which a kernel of this instruction set is linked; COTNET_ISA comes from the build.
#pragma once

#include "problem.h"

#define COTNET_KERNEL(name)                                                                          \
  namespace COTNET_ISA {                                                                             \
  int name(const Problem* p, const void* first, const void* second, void* output) {                  \
    switch (p->dtype) {                                                                              \
      case kFloat32: return typed<float>(*p, first, second, output);                                 \
      case kFloat64: return typed<double>(*p, first, second, output);                                \
      case kBfloat16: return typed<Bfloat16>(*p, first, second, output);                             \
      case kFloat16: return typed<Float16>(*p, first, second, output);                               \
    }                                                                                                \
    return kUnknownDtype;                                                                            \
  }                                                                                                  \
  }
