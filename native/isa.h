// How a kernel is chosen by the storage type, and the name under which it is linked; COTNET_ISA comes from the build.
#pragma once

#include <type_traits>

#include "problem.h"
#include "simd.h"

namespace {

template <class T> constexpr Dtype kDtypeOf = kFloat32;
template <> constexpr Dtype kDtypeOf<double> = kFloat64;
template <> constexpr Dtype kDtypeOf<Bfloat16> = kBfloat16;
template <> constexpr Dtype kDtypeOf<Float16> = kFloat16;

#if defined(__AVX512BF16__)
// No other type gains by it: library.cpp leaves those to plain AVX-512.
template <class T> constexpr bool kBuilt = std::is_same<T, Bfloat16>::value;
#else
template <class T> constexpr bool kBuilt = true;
#endif

// What `work` returns for a value of that type, one of T, MORE...
template <class T, class... MORE, class Work> int by_dtype(int64_t dtype, const Work& work) {
  if constexpr (kBuilt<T>)
    if (dtype == kDtypeOf<T>) return work(T());
  if constexpr (sizeof...(MORE) > 0) return by_dtype<MORE...>(dtype, work);
  return kUnknownDtype;
}

}  // namespace

#define COTNET_KERNEL(name)                                                                                     \
  namespace COTNET_ISA {                                                                                        \
  int name(const Problem* p, const void* first, const void* second, void* output) {                             \
    return by_dtype<float, double, Bfloat16, Float16>(                                                          \
        p->dtype, [&](auto t) { return typed<decltype(t)>(*p, first, second, output); });                       \
  }                                                                                                             \
  }
