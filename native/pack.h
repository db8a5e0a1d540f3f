// A pack: as many elements of a storage type as fill a vector, widened to one or two vectors of the accumulator type.
//
// The two halves of a 16-bit pack hold the elements in whatever order is cheapest to reach. Sums and products never
// mind, as long as both sides are packs.
#pragma once

#include "simd.h"

namespace {

template <class T> constexpr int kWidth = kVectorBytes / int(sizeof(T));

template <class T> struct Pack {
  Vector<Accumulator<T>> v[sizeof(Accumulator<T>) / sizeof(T)];
};

template <class T> COTNET_INLINE Pack<T> unpack(Words raw) { return {{(Vector<T>)raw}}; }
template <> COTNET_INLINE Pack<Bfloat16> unpack<Bfloat16>(Words raw) {
  return {{(Vector<float>)(raw << 16), (Vector<float>)(raw & 0xffff0000)}};
}
template <> COTNET_INLINE Pack<Float16> unpack<Float16>(Words raw) {
  Float16 halves[kWidth<Float16>];
  memcpy(halves, &raw, sizeof raw);
  return {{load(halves), load(halves + kLanes<float>)}};
}

template <class T> COTNET_INLINE void store_pack(T* to, Pack<T> x) {
  store(to, x.v[0]);
  if constexpr (!kAccumulates<T>) store(to + kLanes<float>, x.v[1]);
}
template <> COTNET_INLINE void store_pack<Bfloat16>(Bfloat16* to, Pack<Bfloat16> x) {
  const Words raw = round_to_bfloat16(x.v[0]) >> 16 | (round_to_bfloat16(x.v[1]) & 0xffff0000);
  memcpy(to, &raw, sizeof raw);
}

// The accumulators in the order of the elements.
template <class T> COTNET_INLINE void store_lanes(Accumulator<T>* to, Pack<T> x) {
  store(to, x.v[0]);
  if constexpr (!kAccumulates<T>) store(to + kLanes<float>, x.v[1]);
}
template <> COTNET_INLINE void store_lanes<Bfloat16>(float* to, Pack<Bfloat16> x) {
#if defined(__AVX512F__)
  const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  _mm512_storeu_ps(to, _mm512_permutex2var_ps((__m512)x.v[0], low, (__m512)x.v[1]));
  _mm512_storeu_ps(to + 16, _mm512_permutex2var_ps((__m512)x.v[0], high, (__m512)x.v[1]));
#else
  for (int lane = 0; lane < kLanes<float>; ++lane) to[2 * lane] = x.v[0][lane], to[2 * lane + 1] = x.v[1][lane];
#endif
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
    if constexpr (bytes == 32) return unpack<T>((Words)_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)from)));
    if constexpr (bytes == 16) return unpack<T>((Words)_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)from)));
#elif defined(__AVX2__)
    if constexpr (bytes == 16)
      return unpack<T>((Words)_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)from)));
#endif
    if constexpr (bytes <= 8) return unpack<T>(splat<bytes>(from));
  }
}

}  // namespace
