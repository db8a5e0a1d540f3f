// A pack: as many elements of a storage type as fill a vector, widened to one or two vectors of the accumulator type.
// The two vectors of a 16-bit pack hold the elements of even and of odd number.
#pragma once

#include <utility>

#include "vector.h"

namespace {

template <class T> constexpr int kWidth = kVectorBytes / int(sizeof(T));

template <class T> struct Pack {
  Vector<Accumulator<T>> v[sizeof(Accumulator<T>) / sizeof(T)];
};

template <class T> COTNET_INLINE Pack<T> unpack(Words raw) {
  if constexpr (kAccumulates<T>) return {{(Vector<T>)raw}};
  else return {{widen_words<T>(raw), widen_words<T>(raw >> 16)}};
}
template <> COTNET_INLINE Pack<Bfloat16> unpack<Bfloat16>(Words raw) {
  return {{(Vector<float>)(raw << 16), (Vector<float>)(raw & 0xffff0000)}};
}

template <class T> COTNET_INLINE Words repack(Pack<T> x) {
  if constexpr (kAccumulates<T>) return (Words)x.v[0];
  else return narrow_words<T>(x.v[0]) | narrow_words<T>(x.v[1]) << 16;
}

#if defined(__AVX512BF16__)
// One instruction rounds two vectors, which it leaves one behind the other. It takes subnormal floats for zeros.
template <int... R> COTNET_INLINE Words merge_halves(Words both, std::integer_sequence<int, R...>) {
  typedef uint16_t Elements __attribute__((vector_size(kVectorBytes)));
  const Elements elements = (Elements)both;
  return (Words)__builtin_shufflevector(elements, elements, (R / 2 + R % 2 * kLanes<float>)...);
}
template <> COTNET_INLINE Words repack<Bfloat16>(Pack<Bfloat16> x) {
  const Words both = (Words)_mm512_cvtne2ps_pbh((__m512)x.v[1], (__m512)x.v[0]);
  return merge_halves(both, std::make_integer_sequence<int, kWidth<Bfloat16>>());
}
#endif

template <class T> COTNET_INLINE void store_pack(T* to, Pack<T> x) {
  const Words raw = repack(x);
  memcpy(to, &raw, sizeof raw);
}

template <int... R>
COTNET_INLINE void store_merged(float* to, Vector<float> even, Vector<float> odd, std::integer_sequence<int, R...>) {
  constexpr int lanes = kLanes<float>;
  store(to, __builtin_shufflevector(even, odd, (R / 2 + R % 2 * lanes)...));
  store(to + lanes, __builtin_shufflevector(even, odd, ((R + lanes) / 2 + R % 2 * lanes)...));
}
// The accumulators in the order of the elements.
template <class T> COTNET_INLINE void store_lanes(Accumulator<T>* to, Pack<T> x) {
  if constexpr (kAccumulates<T>) store(to, x.v[0]);
  else store_merged(to, x.v[0], x.v[1], std::make_integer_sequence<int, kLanes<float>>());
}

template <class T> COTNET_INLINE Pack<T> load_pack(const T* from) {
  Words raw;
  memcpy(&raw, from, sizeof raw);
  return unpack<T>(raw);
}

// The first `count` elements, then zeros.
template <class T> COTNET_INLINE Pack<T> load_some(const T* from, int64_t count) {
  Words raw = {};
  memcpy(&raw, from, size_t(count) * sizeof(T));
  return unpack<T>(raw);
}
template <class T> COTNET_INLINE void store_some(T* to, Pack<T> x, int64_t count) {
  T all[kWidth<T>];
  store_pack(all, x);
  memcpy(to, all, size_t(count) * sizeof(T));
}

// The BYTES at `from`, over and over.
template <int BYTES> COTNET_INLINE Words splat(const void* from) {
  if constexpr (BYTES == 8) {
    typedef uint64_t Longs __attribute__((vector_size(kVectorBytes)));
    uint64_t x;
    memcpy(&x, from, sizeof x);
    return (Words)(Longs{} + x);
  } else {
    uint32_t x = 0;
    memcpy(&x, from, BYTES);
    return Words{} + (BYTES == 4 ? x : x * 0x10001);
  }
}

// kWidth / REPEATS elements, REPEATS times over.
template <class T, int REPEATS> COTNET_INLINE Pack<T> load_repeated(const T* from) {
  if constexpr (REPEATS == 1) {
    return load_pack(from);
  } else {
    constexpr int bytes = kVectorBytes / REPEATS;
#if defined(__AVX512F__)
    if constexpr (bytes == 32)
      return unpack<T>((Words)_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)from)));
    if constexpr (bytes == 16) return unpack<T>((Words)_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)from)));
#elif defined(__AVX2__)
    if constexpr (bytes == 16)
      return unpack<T>((Words)_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)from)));
#endif
    if constexpr (bytes <= 8) return unpack<T>(splat<bytes>(from));
  }
}

}  // namespace
