// Vectors of floats: exponentials, to a few units in the last place, and loops over arrays of any length.
#pragma once

#include "vector.h"

namespace {

using Floats = Vector<float>;

COTNET_INLINE Floats splat_float(float x) { return x - Floats{}; }  // `x + 0` would be an addition: -0 becomes 0
COTNET_INLINE Floats min_of(Floats a, Floats b) { return a < b ? a : b; }
COTNET_INLINE Floats max_of(Floats a, Floats b) { return a > b ? a : b; }

// exp(x) for x within [-87, 87], and the value at the nearer end beyond.
COTNET_INLINE Floats exp_of(Floats x) {
  typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));
  x = max_of(min_of(x, splat_float(87.0f)), splat_float(-87.0f));
  // x = n ln 2 + r with n an integer and |r| <= ln 2 / 2; the large number rounds.
  constexpr float round = 0x1.8p23f;
  const Floats n = (x * 1.44269504f + round) - round;
  const Floats r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  Floats y = splat_float(1.0f / 720) * r + 1.0f / 120;
  y = y * r + 1.0f / 24;
  y = y * r + 1.0f / 6;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  const Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
  return y * (Floats)power;
}

// 1 / x, neither of them subnormal; to a unit in the last place.
COTNET_INLINE Floats reciprocal(Floats x) {
#if defined(__AVX512F__)
  const Floats y = (Floats)_mm512_rcp14_ps((__m512)x);
  return y + y * (1.0f - x * y);
#else
  return 1.0f / x;
#endif
}

COTNET_INLINE Floats sigmoid(Floats x) { return reciprocal(1.0f + exp_of(-x)); }
COTNET_INLINE Floats silu(Floats x) { return x * sigmoid(x); }

// Lane l of the result is lane index[l].
COTNET_INLINE Floats permute(Floats x, const int32_t* index) {
#if defined(__AVX512F__)
  return (Floats)_mm512_permutexvar_ps(_mm512_loadu_si512(index), (__m512)x);
#elif defined(__AVX2__)
  return (Floats)_mm256_permutevar8x32_ps((__m256)x, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)));
#else
  Floats y;
  for (int l = 0; l < kLanes<float>; ++l) y[l] = x[index[l]];
  return y;
#endif
}

COTNET_INLINE float sum_lanes(Floats x) {
  float sum = 0;
  for (int l = 0; l < kLanes<float>; ++l) sum += x[l];
  return sum;
}

// The first `count` of less than a vector, then zeros.
template <class T> COTNET_INLINE Floats load_first(const T* from, int64_t count) {
  T all[kLanes<float>] = {};
  memcpy(all, from, size_t(count) * sizeof(T));
  return load(all);
}
template <class T> COTNET_INLINE void store_first(T* to, Floats x, int64_t count) {
  T all[kLanes<float>];
  store(all, x);
  memcpy(to, all, size_t(count) * sizeof(T));
}
#if defined(__AVX512F__)
template <> COTNET_INLINE Floats load_first<float>(const float* from, int64_t count) {
  return (Floats)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
}
template <> COTNET_INLINE void store_first<float>(float* to, Floats x, int64_t count) {
  _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), (__m512)x);
}
#endif

constexpr auto whole_load = [](const auto* from) __attribute__((always_inline)) { return load(from); };
constexpr auto whole_store = [](auto* to, Floats x) __attribute__((always_inline)) { store(to, x); };

// body(at) for every whole vector of `size` elements, at least one; the last two may overlap.
template <class Body> COTNET_INLINE void for_each_whole_vector(int64_t size, const Body& body) {
  constexpr int64_t lanes = kLanes<float>;
  int64_t at = 0;
  for (; at + lanes <= size; at += lanes) body(at);
  if (at < size) body(size - lanes);
}

// body(at, load, store) for every vector of `size` elements; the last may be a part of one.
template <class Body> COTNET_INLINE void for_each_vector(int64_t size, const Body& body) {
  constexpr int64_t lanes = kLanes<float>;
  int64_t at = 0;
  for (; at + lanes <= size; at += lanes) body(at, whole_load, whole_store);
  if (const int64_t left = size - at; left > 0)
    body(
        at, [left](const auto* from) __attribute__((always_inline)) { return load_first(from, left); },
        [left](auto* to, Floats x) __attribute__((always_inline)) { store_first(to, x, left); });
}

}  // namespace
