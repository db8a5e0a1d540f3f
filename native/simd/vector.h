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
template <class T> struct AccumulatorOf {
  using type = T;
};
template <> struct AccumulatorOf<Bfloat16> {
  using type = float;
};
template <> struct AccumulatorOf<Float16> {
  using type = float;
};
template <class T> using Accumulator = typename AccumulatorOf<T>::type;

template <class T> constexpr bool kAccumulates = sizeof(T) == sizeof(Accumulator<T>);

template <class A> struct VectorOf;
template <> struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
};
template <> struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
};
template <class A> using Vector = typename VectorOf<A>::type;
template <class A> constexpr int kLanes = kVectorBytes / int(sizeof(A));

// Keeps the compiler from computing the addresses of a whole unrolled loop ahead, more than there are registers.
template <class P> COTNET_INLINE P* opaque(P* pointer) {
  __asm__ volatile("" : "+r"(pointer));
  return pointer;
}

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

// The 16-bit floats in the lower halves of words; what the upper halves hold does not matter.
template <class T> COTNET_INLINE Vector<float> widen_words(Words x);
template <> COTNET_INLINE Vector<float> widen_words<Bfloat16>(Words x) { return (Vector<float>)(x << 16); }
template <> COTNET_INLINE Vector<float> widen_words<Float16>(Words x) {
#if defined(__AVX512F__)
  return (Vector<float>)_mm512_cvtph_ps((__m256i) __builtin_convertvector(x, Halves));
#elif defined(__F16C__)
  return (Vector<float>)_mm256_cvtph_ps((__m128i) __builtin_convertvector(x, Halves));
#else
  const Words magnitude = (x & 0x7fff) << 13, sign = (x & 0x8000) << 16;
  const Words scaled = (Words)((Vector<float>)magnitude * 0x1p112f);
  return (Vector<float>)((magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : scaled) | sign);
#endif
}

// The nearest 16-bit float in the lower half of each word, zeros above it.
template <class T> COTNET_INLINE Words narrow_words(Vector<float> x);
template <> COTNET_INLINE Words narrow_words<Bfloat16>(Vector<float> x) {
  const Words bits = (Words)x;
  return (x == x ? bits + 0x7fff + ((bits >> 16) & 1) : (bits & 0) + 0x7fc00000) >> 16;
}
template <> COTNET_INLINE Words narrow_words<Float16>(Vector<float> x) {
#if defined(__AVX512F__)
  return __builtin_convertvector((Halves)_mm512_cvtps_ph((__m512)x, 0), Words);
#elif defined(__F16C__)
  return __builtin_convertvector((Halves)_mm256_cvtps_ph((__m256)x, 0), Words);
#else
  // As narrow<Float16> does, for all of them at once.
  const Words bits = (Words)x, magnitude = bits & 0x7fffffff;
  const Words special = magnitude > 0x7f800000 ? (bits & 0) + 0x7e00 : (bits & 0) + 0x7c00;
  const Words subnormal = (Words)((Vector<float>)magnitude + 0.5f) - 0x3f000000;
  const Words normal = (magnitude + 0xc8000fff + ((magnitude >> 13) & 1)) >> 13;
  const Words half = magnitude >= 0x47800000 ? special : magnitude < 0x38800000 ? subnormal : normal;
  return half | ((bits >> 16) & 0x8000);
#endif
}

template <class T> COTNET_INLINE Vector<float> load_halves(const T* from) {
  Halves halves;
  memcpy(&halves, from, sizeof halves);
  return widen_words<T>(__builtin_convertvector(halves, Words));
}
COTNET_INLINE Vector<float> load(const Bfloat16* from) { return load_halves(from); }
COTNET_INLINE Vector<float> load(const Float16* from) { return load_halves(from); }

COTNET_INLINE void store(float* to, Vector<float> x) { memcpy(to, &x, sizeof x); }
COTNET_INLINE void store(double* to, Vector<double> x) { memcpy(to, &x, sizeof x); }
template <class T> COTNET_INLINE void store_halves(T* to, Vector<float> x) {
  const Halves halves = __builtin_convertvector(narrow_words<T>(x), Halves);
  memcpy(to, &halves, sizeof halves);
}
COTNET_INLINE void store(Bfloat16* to, Vector<float> x) { store_halves(to, x); }
COTNET_INLINE void store(Float16* to, Vector<float> x) { store_halves(to, x); }

}  // namespace
