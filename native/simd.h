// Vectors as wide as the instruction set that this file is compiled for, and the storage types behind them.
// Everything has internal linkage: the linker must never merge code of two instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

#define COTNET_INLINE inline __attribute__((always_inline))

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// The type in which a storage type accumulates.
template <class T> struct AccumulatorOf { using type = T; };
template <> struct AccumulatorOf<Bfloat16> { using type = float; };
template <> struct AccumulatorOf<Float16> { using type = float; };
template <class T> using Accumulator = typename AccumulatorOf<T>::type;

template <class T> constexpr bool kAccumulates = sizeof(T) == sizeof(Accumulator<T>);

template <class A> struct VectorOf;
template <> struct VectorOf<float> { typedef float type __attribute__((vector_size(kVectorBytes))); };
template <> struct VectorOf<double> { typedef double type __attribute__((vector_size(kVectorBytes))); };
template <class A> using Vector = typename VectorOf<A>::type;
template <class A> constexpr int kLanes = kVectorBytes / int(sizeof(A));

COTNET_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

COTNET_INLINE float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

COTNET_INLINE float widen(float x) { return x; }
COTNET_INLINE double widen(double x) { return x; }
COTNET_INLINE float widen(Bfloat16 x) { return float_of(uint32_t(x.bits) << 16); }
COTNET_INLINE float widen(Float16 x) {
#if defined(__F16C__)
  return _cvtsh_ss(x.bits);
#else
  const uint32_t sign = uint32_t(x.bits & 0x8000) << 16, magnitude = uint32_t(x.bits & 0x7fff) << 13;
  // Scaled by 2^112, the exponent's bias and the subnormals come out right; infinities and NaNs do not.
  uint32_t bits = bits_of(float_of(magnitude) * 0x1p112f);
  if (magnitude >= 0x0f800000) bits = magnitude | 0x7f800000;
  return float_of(bits | sign);
#endif
}

template <class T> COTNET_INLINE T narrow(Accumulator<T> x);
template <> COTNET_INLINE float narrow<float>(float x) { return x; }
template <> COTNET_INLINE double narrow<double>(double x) { return x; }
template <> COTNET_INLINE Bfloat16 narrow<Bfloat16>(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t nearest_even = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return {uint16_t((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : nearest_even)};
}
template <> COTNET_INLINE Float16 narrow<Float16>(float x) {
#if defined(__F16C__)
  return {uint16_t(_cvtss_sh(x, 0))};
#else
  const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffff, sign = (bits >> 16) & 0x8000;
  uint32_t half;
  if (magnitude >= 0x47800000) {  // 65536 and above, infinities and NaNs
    half = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
  } else if (magnitude < 0x38800000) {  // subnormal in float16: the addition of 0.5 rounds at the right bit
    half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000;
  } else {
    half = (magnitude + 0xc8000fff + ((magnitude >> 13) & 1)) >> 13;
  }
  return {uint16_t(half | sign)};
#endif
}

COTNET_INLINE Vector<float> load(const float* from) {
  Vector<float> x;
  memcpy(&x, from, sizeof x);
  return x;
}
COTNET_INLINE Vector<double> load(const double* from) {
  Vector<double> x;
  memcpy(&x, from, sizeof x);
  return x;
}
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));

COTNET_INLINE Vector<float> load(const Bfloat16* from) {
  Halves halves;
  memcpy(&halves, from, sizeof halves);
  return (Vector<float>)(__builtin_convertvector(halves, Words) << 16);
}
COTNET_INLINE Vector<float> load(const Float16* from) {
#if defined(__AVX512F__)
  __m256i halves;
  memcpy(&halves, from, sizeof halves);
  return (Vector<float>)_mm512_cvtph_ps(halves);
#elif defined(__F16C__)
  __m128i halves;
  memcpy(&halves, from, sizeof halves);
  return (Vector<float>)_mm256_cvtph_ps(halves);
#else
  Vector<float> x;
  for (int lane = 0; lane < kLanes<float>; ++lane) x[lane] = widen(from[lane]);
  return x;
#endif
}

COTNET_INLINE void store(float* to, Vector<float> x) { memcpy(to, &x, sizeof x); }
COTNET_INLINE void store(double* to, Vector<double> x) { memcpy(to, &x, sizeof x); }
// The nearest bfloat16 in the upper half of each word; the lower half is arbitrary.
COTNET_INLINE Words round_to_bfloat16(Vector<float> x) {
  const Words bits = (Words)x;
  return x == x ? bits + 0x7fff + ((bits >> 16) & 1) : (bits & 0) + 0x7fc00000;
}
COTNET_INLINE void store(Bfloat16* to, Vector<float> x) {
  const Halves halves = __builtin_convertvector(round_to_bfloat16(x) >> 16, Halves);
  memcpy(to, &halves, sizeof halves);
}
COTNET_INLINE void store(Float16* to, Vector<float> x) {
#if defined(__AVX512F__)
  const __m256i halves = _mm512_cvtps_ph((__m512)x, 0);
  memcpy(to, &halves, sizeof halves);
#elif defined(__F16C__)
  const __m128i halves = _mm256_cvtps_ph((__m256)x, 0);
  memcpy(to, &halves, sizeof halves);
#else
  for (int lane = 0; lane < kLanes<float>; ++lane) to[lane] = narrow<Float16>(x[lane]);
#endif
}

}  // namespace
