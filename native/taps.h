// Weights lie as [map][tap] in a channels_last tensor; kernels along channels want [tap][map]. T is odd and a vector
// has a power of two of lanes, so the maps of a tap lie in lanes that are all different: a rotation of whole vectors,
// each lane by its own number, and one permutation of each vector transpose without touching single elements.
#pragma once

#include "simd.h"

namespace {

template <int BYTES> struct Lanes;
template <> struct Lanes<2> { using type = uint16_t; };
template <> struct Lanes<4> { using type = uint32_t; };
template <> struct Lanes<8> { using type = uint64_t; };

#if defined(__AVX512F__)
template <int BYTES> constexpr bool kPermutes = true;
#elif defined(__AVX2__)
template <int BYTES> constexpr bool kPermutes = BYTES == 4;
#else
template <int BYTES> constexpr bool kPermutes = false;
#endif

template <int TAPS, int BYTES> struct Rotation {
  using U = typename Lanes<BYTES>::type;
  static constexpr int lanes = kVectorBytes / BYTES;

  // Bit r: whether lane r moves by 2^stage vectors.
  static constexpr uint32_t moved(int stage) {
    uint32_t bits = 0;
    for (int r = 0; r < lanes; ++r) bits |= uint32_t((r % TAPS) >> stage & 1) << r;
    return bits;
  }
  static constexpr int inverse(int x, int modulus) {
    for (int y = 0; y < modulus; ++y)
      if (x * y % modulus == 1 % modulus) return y;
    return 0;
  }
  // In rotating order, vector q is number order(q) in memory.
  static constexpr int order(int q) { return inverse(lanes % TAPS, TAPS) * q % TAPS; }

  struct Table {
    U apart[lanes], together[lanes];
  };
  static constexpr Table table() {
    Table t{};
    for (int r = 0; r < lanes; ++r) {
      t.apart[r] = U(r * TAPS % lanes);
      t.together[r] = U(r * inverse(TAPS % lanes, lanes) % lanes);
    }
    return t;
  }
};

#if defined(__AVX2__)
// Where bit r is set, lane r of b, else of a.
template <int BYTES, uint32_t BITS> COTNET_INLINE Words blend(Words a, Words b) {
#if defined(__AVX512F__)
  if constexpr (BYTES == 2) return (Words)_mm512_mask_blend_epi16(__mmask32(BITS), (__m512i)a, (__m512i)b);
  if constexpr (BYTES == 4) return (Words)_mm512_mask_blend_epi32(__mmask16(BITS), (__m512i)a, (__m512i)b);
  if constexpr (BYTES == 8) return (Words)_mm512_mask_blend_epi64(__mmask8(BITS), (__m512i)a, (__m512i)b);
#else
  return (Words)_mm256_blend_epi32((__m256i)a, (__m256i)b, int(BITS & 0xff));
#endif
}

// Lane r is lane (index[r] + shift) of x, modulo the number of lanes.
template <int BYTES> COTNET_INLINE Words permute(Words x, const void* index, int shift) {
#if defined(__AVX512F__)
  const __m512i at = _mm512_loadu_si512(index);
  if constexpr (BYTES == 2) return (Words)_mm512_permutexvar_epi16(_mm512_add_epi16(at, _mm512_set1_epi16(short(shift))), (__m512i)x);
  if constexpr (BYTES == 4) return (Words)_mm512_permutexvar_epi32(_mm512_add_epi32(at, _mm512_set1_epi32(shift)), (__m512i)x);
  if constexpr (BYTES == 8) return (Words)_mm512_permutexvar_epi64(_mm512_add_epi64(at, _mm512_set1_epi64(shift)), (__m512i)x);
#else
  const __m256i at = _mm256_add_epi32(_mm256_loadu_si256((const __m256i*)index), _mm256_set1_epi32(shift));
  return (Words)_mm256_permutevar8x32_epi32((__m256i)x, at);
#endif
}

template <int TAPS, int BYTES, int STAGE, int SIGN> COTNET_INLINE void rotate(Words (&v)[TAPS]) {
  constexpr int step = 1 << STAGE;
  if constexpr (step < TAPS && step < kVectorBytes / BYTES) {
    constexpr uint32_t bits = Rotation<TAPS, BYTES>::moved(STAGE);
    Words moved[TAPS];
#pragma GCC unroll 64
    for (int q = 0; q < TAPS; ++q) moved[q] = blend<BYTES, bits>(v[q], v[(q + SIGN * step + TAPS) % TAPS]);
#pragma GCC unroll 64
    for (int q = 0; q < TAPS; ++q) v[q] = moved[q];
    rotate<TAPS, BYTES, STAGE + 1, SIGN>(v);
  }
}
#endif

// to[t * pitch + m] = from[m * TAPS + t].
template <int TAPS, class T> void taps_apart(T* to, int64_t pitch, const T* from, int64_t maps) {
  int64_t m = 0;
#if defined(__AVX2__)
  if constexpr (kPermutes<sizeof(T)>) {
    using R = Rotation<TAPS, sizeof(T)>;
    static constexpr typename R::Table table = R::table();
    for (; m + R::lanes <= maps; m += R::lanes) {
      Words v[TAPS];
#pragma GCC unroll 64
      for (int q = 0; q < TAPS; ++q) memcpy(&v[q], from + m * TAPS + R::order(q) * R::lanes, sizeof v[q]);
      rotate<TAPS, sizeof(T), 0, -1>(v);
#pragma GCC unroll 64
      for (int t = 0; t < TAPS; ++t) {
        const Words tap = permute<sizeof(T)>(v[t], table.apart, t);
        memcpy(to + t * pitch + m, &tap, sizeof tap);
      }
    }
  }
#endif
  for (; m < maps; ++m)
    for (int t = 0; t < TAPS; ++t) to[t * pitch + m] = from[m * TAPS + t];
}

// to[m * TAPS + t] = from[t * pitch + m].
template <int TAPS, class T> void taps_together(T* to, const T* from, int64_t pitch, int64_t maps) {
  int64_t m = 0;
#if defined(__AVX2__)
  if constexpr (kPermutes<sizeof(T)>) {
    using R = Rotation<TAPS, sizeof(T)>;
    static constexpr typename R::Table table = R::table();
    for (; m + R::lanes <= maps; m += R::lanes) {
      Words v[TAPS];
#pragma GCC unroll 64
      for (int t = 0; t < TAPS; ++t) {
        Words tap;
        memcpy(&tap, from + t * pitch + m, sizeof tap);
        v[t] = permute<sizeof(T)>(tap, table.together, -t * int(table.together[1]));
      }
      rotate<TAPS, sizeof(T), 0, 1>(v);
#pragma GCC unroll 64
      for (int q = 0; q < TAPS; ++q) memcpy(to + m * TAPS + R::order(q) * R::lanes, &v[q], sizeof v[q]);
    }
  }
#endif
  for (; m < maps; ++m)
    for (int t = 0; t < TAPS; ++t) to[m * TAPS + t] = from[t * pitch + m];
}

}  // namespace
