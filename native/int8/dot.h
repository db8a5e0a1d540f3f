// Products of bytes: lane l of a sum gains x[0] w[4l] + .. + x[3] w[4l + 3], x without a sign, w with one, in exact
// integers whatever the instruction set.
#pragma once

#include "../simd/vector.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));
typedef uint8_t LaneBytes __attribute__((vector_size(kVectorBytes / 4)));  // one for each lane of `Integers`
typedef int16_t Shorts __attribute__((vector_size(kVectorBytes)));

COTNET_INLINE Integers load_integers(const void* from) {
  Integers x;
  memcpy(&x, from, sizeof x);
  return x;
}

COTNET_INLINE LaneBytes load_bytes(const uint8_t* from) {
  LaneBytes x;
  memcpy(&x, from, sizeof x);
  return x;
}
// The first `count`, then zeros.
COTNET_INLINE LaneBytes load_bytes(const uint8_t* from, int64_t count) {
  LaneBytes x{};
  memcpy(&x, from, size_t(count));
  return x;
}

COTNET_INLINE Integers widen_bytes(LaneBytes x) {
#if defined(__AVX512F__)
  return (Integers)_mm512_cvtepu8_epi32((__m128i)x);
#elif defined(__AVX2__)
  int64_t eight;
  memcpy(&eight, &x, sizeof eight);
  return (Integers)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(eight));
#else
  return __builtin_convertvector(x, Integers);
#endif
}

// Of integers from 0 to 255.
COTNET_INLINE LaneBytes narrow_to_bytes(Integers x) {
#if defined(__AVX512F__)
  return (LaneBytes)_mm512_cvtepi32_epi8((__m512i)x);
#elif defined(__AVX2__)
  const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
  const int64_t eight = _mm_cvtsi128_si64(_mm_packus_epi16(halves, halves));
  LaneBytes bytes;
  memcpy(&bytes, &eight, sizeof bytes);
  return bytes;
#else
  return __builtin_convertvector(x, LaneBytes);
#endif
}

// Four bytes for all lanes.
COTNET_INLINE Integers splat_bytes(const uint8_t* from) {
  int32_t word;
  memcpy(&word, from, sizeof word);
#if defined(__AVX512F__)
  return (Integers)_mm512_set1_epi32(word);
#elif defined(__AVX2__)
  return (Integers)_mm256_set1_epi32(word);
#else
  return word - Integers{};
#endif
}

#if defined(__AVX512VNNI__)
COTNET_INLINE Integers dot(Integers sum, Integers x, Integers w) {
  return (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
}
#elif defined(__AVXVNNI__)
COTNET_INLINE Integers dot(Integers sum, Integers x, Integers w) {
  return (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
}
#elif defined(__SSE2__)
// As 16-bit numbers, the even and the odd bytes apart: products of bytes would saturate when two are added in 16 bits.
COTNET_INLINE Integers add_products(Integers x, Integers w) {
#if defined(__AVX512BW__)
  return (Integers)_mm512_madd_epi16((__m512i)x, (__m512i)w);
#elif defined(__AVX2__)
  return (Integers)_mm256_madd_epi16((__m256i)x, (__m256i)w);
#else
  return (Integers)_mm_madd_epi16((__m128i)x, (__m128i)w);
#endif
}
COTNET_INLINE Integers dot(Integers sum, Integers x, Integers w) {
  const Integers odd = (Integers)((Shorts)w >> 8), even = (Integers)((Shorts)((Shorts)w << 8) >> 8);
  return sum + add_products(x & 0x00ff00ff, even) + add_products((Integers)((Words)x >> 8) & 0x00ff00ff, odd);
}
#else
COTNET_INLINE Integers dot(Integers sum, Integers x, Integers w) {
  for (int byte = 0; byte < 4; ++byte) sum += (w << (24 - 8 * byte) >> 24) * (x >> 8 * byte & 255);
  return sum;
}
#endif

}  // namespace
