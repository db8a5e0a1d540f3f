// The exported functions: which instruction sets this machine runs, and the kernels of the chosen one.
#include <cstring>

#include "batch_norm.h"
#include "fused.h"
#include "int8/int8.h"
#include "problem.h"
#include "winograd.h"

#if defined(_WIN32)
#define COTNET_EXPORT extern "C" __declspec(dllexport)
#else
#define COTNET_EXPORT extern "C" __attribute__((visibility("default")))
#endif

struct Kernels {
  Kernel aggregate, grad_value, grad_weight;
  FusedKernel fused_cot;
  WinogradKernel winograd_conv;
  BatchNormKernel batch_norm_act, batch_norm_act_backward;
};

struct Int8Kernels {
  Int8ConvKernel int8_conv;
  Int8PoolKernel int8_pool;
  QuantizeKernel quantize;
  Int8LayerKernel int8_cot;
};

#define COTNET_DECLARE(isa)                                              \
  namespace isa {                                                        \
  int aggregate(const Problem*, const void*, const void*, void*);        \
  int grad_value(const Problem*, const void*, const void*, void*);       \
  int grad_weight(const Problem*, const void*, const void*, void*);      \
  int fused_cot(const FusedProblem*);                                    \
  int winograd_conv(const WinogradProblem*);                             \
  int batch_norm_act(const BatchNormProblem*);                           \
  int batch_norm_act_backward(const BatchNormProblem*);                  \
  constexpr Kernels kernels{aggregate,     grad_value,     grad_weight,            fused_cot, \
                            winograd_conv, batch_norm_act, batch_norm_act_backward};          \
  }

#define COTNET_DECLARE_INT8(isa)                                              \
  namespace isa {                                                             \
  int int8_conv(const Int8ConvProblem*);                                      \
  int int8_pool(const Int8PoolProblem*);                                      \
  int quantize(const QuantizeProblem*);                                       \
  int int8_cot(const Int8LayerProblem*);                                      \
  constexpr Int8Kernels int8_kernels{int8_conv, int8_pool, quantize, int8_cot}; \
  }

COTNET_DECLARE(baseline)
COTNET_DECLARE_INT8(baseline)
#ifdef COTNET_X86
COTNET_DECLARE(avx2)
COTNET_DECLARE(avx512)
COTNET_DECLARE(avx512_bf16)
COTNET_DECLARE_INT8(avx2)
COTNET_DECLARE_INT8(avx_vnni)
COTNET_DECLARE_INT8(avx512)
COTNET_DECLARE_INT8(avx512_vnni)
#endif

namespace {

struct Isa {
  const char* name;
  bool supported;
  Kernels kernels, bfloat16;  // the latter for maps of that type
  Int8Kernels int8;
};

const Isa* isas(int* count) {
#ifdef COTNET_X86
  __builtin_cpu_init();
  static const bool has_avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  static const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  static const bool has_avx_vnni = has_avx2 && __builtin_cpu_supports("avxvnni");
  static const bool has_avx512_vnni = has_avx512 && __builtin_cpu_supports("avx512vnni");
  static const bool has_avx512_bf16 = has_avx512_vnni && __builtin_cpu_supports("avx512bf16");
  static const Isa known[] = {
      {"baseline", true, baseline::kernels, baseline::kernels, baseline::int8_kernels},
      {"avx2", has_avx2, avx2::kernels, avx2::kernels, avx2::int8_kernels},
      {"avx_vnni", has_avx_vnni, avx2::kernels, avx2::kernels, avx_vnni::int8_kernels},
      {"avx512", has_avx512, avx512::kernels, avx512::kernels, avx512::int8_kernels},
      {"avx512_vnni", has_avx512_vnni, avx512::kernels, avx512::kernels, avx512_vnni::int8_kernels},
      {"avx512_bf16", has_avx512_bf16, avx512::kernels, avx512_bf16::kernels, avx512_vnni::int8_kernels}};
#else
  static const Isa known[] = {{"baseline", true, baseline::kernels, baseline::kernels, baseline::int8_kernels}};
#endif
  *count = int(sizeof known / sizeof *known);
  return known;
}

const Isa* chosen = nullptr;

const Kernels& kernels_for(int64_t dtype) { return dtype == kBfloat16 ? chosen->bfloat16 : chosen->kernels; }

}  // namespace

// To be raised, with INTERFACE of src/cotnet/ops/native_library.py, whenever an exported function or a packed struct
// changes: a library that was not built anew behind changed Python sources is then refused, not misread.
COTNET_EXPORT int cotnet_interface() { return 2; }

// The best supported set for an empty name. Its name, or null where the set is unknown or not supported here.
COTNET_EXPORT const char* cotnet_choose_isa(const char* name) {
  int count;
  const Isa* known = isas(&count);
  for (int i = count - 1; i >= 0; --i)
    if (known[i].supported && (*name == 0 || strcmp(name, known[i].name) == 0)) {
      chosen = &known[i];
      return known[i].name;
    }
  return nullptr;
}

COTNET_EXPORT int cotnet_aggregate(const Problem* p, const void* value, const void* weight, void* out) {
  return kernels_for(p->dtype).aggregate(p, value, weight, out);
}

COTNET_EXPORT int cotnet_grad_value(const Problem* p, const void* grad_out, const void* weight, void* grad_value) {
  return kernels_for(p->dtype).grad_value(p, grad_out, weight, grad_value);
}

COTNET_EXPORT int cotnet_grad_weight(const Problem* p, const void* grad_out, const void* value, void* grad_weight) {
  return kernels_for(p->dtype).grad_weight(p, grad_out, value, grad_weight);
}

COTNET_EXPORT int cotnet_fused_cot(const FusedProblem* f) { return kernels_for(f->dtype).fused_cot(f); }

COTNET_EXPORT int cotnet_winograd_conv(const WinogradProblem* p) { return chosen->kernels.winograd_conv(p); }

COTNET_EXPORT int cotnet_batch_norm_act(const BatchNormProblem* p) { return kernels_for(p->dtype).batch_norm_act(p); }

COTNET_EXPORT int cotnet_batch_norm_act_backward(const BatchNormProblem* p) {
  return kernels_for(p->dtype).batch_norm_act_backward(p);
}

COTNET_EXPORT int cotnet_int8_conv(const Int8ConvProblem* p) { return chosen->int8.int8_conv(p); }

COTNET_EXPORT int cotnet_int8_pool(const Int8PoolProblem* p) { return chosen->int8.int8_pool(p); }

COTNET_EXPORT int cotnet_quantize(const QuantizeProblem* p) { return chosen->int8.quantize(p); }

COTNET_EXPORT int cotnet_int8_cot(const Int8LayerProblem* f) { return chosen->int8.int8_cot(f); }
