// How a kernel is instantiated for the storage type of a problem.
#pragma once

#include <type_traits>

#include "../abi.h"
#include "vector.h"

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

// What `body(T())` returns for the type of that number, one of T, MORE...
template <class T, class... MORE, class Body> int for_dtype(int64_t dtype, const Body& body) {
  if constexpr (kBuilt<T>)
    if (dtype == kDtypeOf<T>) return body(T());
  if constexpr (sizeof...(MORE) > 0) return for_dtype<MORE...>(dtype, body);
  return kUnsupportedDtype;
}

}  // namespace
