// The exported functions: which instruction sets this machine runs, and the kernels of the one in use.
#include <cstring>

#include "abi.h"

#if defined(_WIN32)
#define COTNET_EXPORT extern "C" __declspec(dllexport)
#else
#define COTNET_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace {

// Those of one storage type.
struct DtypeKernels {
  AggregateKernel aggregate, grad_value, grad_weight;
  PackedKernel<FusedCotProblem> fused_cot;
  PackedKernel<BatchNormActProblem> batch_norm_act, batch_norm_act_backward;
};

// Those for bytes.
struct Int8Kernels {
  PackedKernel<Int8ConvProblem> conv;
  PackedKernel<Int8PoolProblem> pool;
  PackedKernel<Int8QuantizeProblem> quantize;
  PackedKernel<Int8CotProblem> cot;
};

}  // namespace

// What CMake compiles into the namespace of an instruction set.
#define COTNET_DECLARE(isa)                                                           \
  namespace isa {                                                                     \
  int aggregate(const AggregateProblem*, const void*, const void*, void*);            \
  int grad_value(const AggregateProblem*, const void*, const void*, void*);           \
  int grad_weight(const AggregateProblem*, const void*, const void*, void*);          \
  int fused_cot(const FusedCotProblem*);                                              \
  int batch_norm_act(const BatchNormActProblem*);                                     \
  int batch_norm_act_backward(const BatchNormActProblem*);                            \
  int winograd_conv(const Conv3x3Problem*);                                           \
  constexpr DtypeKernels kernels{aggregate, grad_value,     grad_weight,              \
                                 fused_cot, batch_norm_act, batch_norm_act_backward}; \
  }

#define COTNET_DECLARE_INT8(isa)                                                        \
  namespace isa {                                                                       \
  int int8_conv(const Int8ConvProblem*);                                                \
  int int8_pool(const Int8PoolProblem*);                                                \
  int int8_quantize(const Int8QuantizeProblem*);                                        \
  int int8_cot(const Int8CotProblem*);                                                  \
  constexpr Int8Kernels int8_kernels{int8_conv, int8_pool, int8_quantize, int8_cot};    \
  }

COTNET_DECLARE(baseline)
COTNET_DECLARE_INT8(baseline)
#ifdef COTNET_X86
COTNET_DECLARE(avx2)
COTNET_DECLARE(avx512)
COTNET_DECLARE(avx512_bf16)  // bfloat16 alone
COTNET_DECLARE_INT8(avx2)
COTNET_DECLARE_INT8(avx_vnni)
COTNET_DECLARE_INT8(avx512)
COTNET_DECLARE_INT8(avx512_vnni)
#endif

namespace {

struct Isa {
  const char* name;
  bool supported;
  DtypeKernels kernels, bfloat16;  // the latter for feature maps of that dtype
  PackedKernel<Conv3x3Problem> winograd_conv;
  Int8Kernels int8;
};

const Isa* known_isas(int* count) {
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
      {"baseline", true, baseline::kernels, baseline::kernels, baseline::winograd_conv, baseline::int8_kernels},
      {"avx2", has_avx2, avx2::kernels, avx2::kernels, avx2::winograd_conv, avx2::int8_kernels},
      {"avx_vnni", has_avx_vnni, avx2::kernels, avx2::kernels, avx2::winograd_conv, avx_vnni::int8_kernels},
      {"avx512", has_avx512, avx512::kernels, avx512::kernels, avx512::winograd_conv, avx512::int8_kernels},
      {"avx512_vnni", has_avx512_vnni, avx512::kernels, avx512::kernels, avx512::winograd_conv,
       avx512_vnni::int8_kernels},
      {"avx512_bf16", has_avx512_bf16, avx512::kernels, avx512_bf16::kernels, avx512::winograd_conv,
       avx512_vnni::int8_kernels}};
#else
  static const Isa known[] = {
      {"baseline", true, baseline::kernels, baseline::kernels, baseline::winograd_conv, baseline::int8_kernels}};
#endif
  *count = int(sizeof known / sizeof *known);
  return known;
}

const Isa* isa_in_use = nullptr;

const DtypeKernels& kernels_for(int64_t dtype) {
  return dtype == kBfloat16 ? isa_in_use->bfloat16 : isa_in_use->kernels;
}

}  // namespace

// To be raised, with INTERFACE of src/cotnet/ops/native_library.py, where an exported function changes or the fields of
// a struct change their order or meaning: a library that was not built anew is then refused, not misread.
COTNET_EXPORT int cotnet_interface() { return 3; }

// Bytes of a problem struct, which Python compares with what it packs; 0 for an unknown name.
COTNET_EXPORT int64_t cotnet_sizeof(const char* name) {
#define COTNET_SIZE(problem) \
  if (strcmp(name, #problem) == 0) return int64_t(sizeof(problem));
  COTNET_SIZE(AggregateProblem)
  COTNET_SIZE(FusedCotProblem)
  COTNET_SIZE(Conv3x3Problem)
  COTNET_SIZE(BatchNormActProblem)
  COTNET_SIZE(Int8ConvProblem)
  COTNET_SIZE(Int8PoolProblem)
  COTNET_SIZE(Int8QuantizeProblem)
  COTNET_SIZE(Int8CotProblem)
#undef COTNET_SIZE
  return 0;
}

// The best supported set for an empty name. Its name, or null where the set is unknown or not supported here.
COTNET_EXPORT const char* cotnet_choose_isa(const char* name) {
  int count;
  const Isa* known = known_isas(&count);
  for (int i = count - 1; i >= 0; --i)
    if (known[i].supported && (*name == 0 || strcmp(name, known[i].name) == 0)) {
      isa_in_use = &known[i];
      return known[i].name;
    }
  return nullptr;
}

COTNET_EXPORT int cotnet_aggregate(const AggregateProblem* p, const void* value, const void* weight, void* out) {
  return kernels_for(p->dtype).aggregate(p, value, weight, out);
}

COTNET_EXPORT int cotnet_grad_value(const AggregateProblem* p, const void* grad_out, const void* weight,
                                    void* grad_value) {
  return kernels_for(p->dtype).grad_value(p, grad_out, weight, grad_value);
}

COTNET_EXPORT int cotnet_grad_weight(const AggregateProblem* p, const void* grad_out, const void* value,
                                     void* grad_weight) {
  return kernels_for(p->dtype).grad_weight(p, grad_out, value, grad_weight);
}

COTNET_EXPORT int cotnet_fused_cot(const FusedCotProblem* p) { return kernels_for(p->dtype).fused_cot(p); }

COTNET_EXPORT int cotnet_winograd_conv(const Conv3x3Problem* p) { return isa_in_use->winograd_conv(p); }

COTNET_EXPORT int cotnet_batch_norm_act(const BatchNormActProblem* p) {
  return kernels_for(p->dtype).batch_norm_act(p);
}

COTNET_EXPORT int cotnet_batch_norm_act_backward(const BatchNormActProblem* p) {
  return kernels_for(p->dtype).batch_norm_act_backward(p);
}

COTNET_EXPORT int cotnet_int8_conv(const Int8ConvProblem* p) { return isa_in_use->int8.conv(p); }

COTNET_EXPORT int cotnet_int8_pool(const Int8PoolProblem* p) { return isa_in_use->int8.pool(p); }

COTNET_EXPORT int cotnet_int8_quantize(const Int8QuantizeProblem* p) { return isa_in_use->int8.quantize(p); }

COTNET_EXPORT int cotnet_int8_cot(const Int8CotProblem* p) { return isa_in_use->int8.cot(p); }
