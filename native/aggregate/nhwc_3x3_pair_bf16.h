// Two neighboring pixels at once in bfloat16: instructions that multiply and add two taps save widening the values. As
// nhwc_3x3_pair.h does, it reads a value once for both windows, and keeps the weights of both pixels in registers: 5 +
// 5 dots of two vectors each are 20 of the 32, the sums 4, the values of two taps interleaved 4 at a time.
#pragma once

#include "nhwc_3x3.h"

namespace {

#if defined(__AVX512BF16__)
// Dots of two taps: those of the first two rows, one column each; the first two of the last row; its last.
constexpr int kDots = 5;

// The elements of two packs in turn: of the lower halves of each 128 bits, and of the upper ones.
struct Interleaved {
  __m512i lower, upper;

  COTNET_INLINE Interleaved(__m512i a, __m512i b)
      : lower(_mm512_unpacklo_epi16(a, b)), upper(_mm512_unpackhi_epi16(a, b)) {}
};

// Sums of a pack of channels. As all of these instructions do, they take subnormal numbers for zeros.
struct DotSums {
  __m512 lower = _mm512_setzero_ps(), upper = _mm512_setzero_ps();

  COTNET_INLINE void add(const Interleaved& x, const Interleaved& w) {
    lower = _mm512_dpbf16_ps(lower, (__m512bh)x.lower, (__m512bh)w.lower);
    upper = _mm512_dpbf16_ps(upper, (__m512bh)x.upper, (__m512bh)w.upper);
  }
  COTNET_INLINE void store(Bfloat16* out) const {
    const __m512i quarters = (__m512i)_mm512_cvtne2ps_pbh(upper, lower);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), quarters));
  }
};

// The weights of one pixel for a pack of channels, which UNITS pixels share.
template <int UNITS, int U> COTNET_INLINE __m512i repeat_unit(__m512i all) {
  if constexpr (UNITS == 4) return _mm512_shuffle_i32x4(all, all, U * 0x55);
  else if constexpr (UNITS == 2) return _mm512_shuffle_i32x4(all, all, U ? 0xee : 0x44);
  else return all;
}

struct DotWeights {
  Interleaved dots[kDots];

  static COTNET_INLINE DotWeights read(const Bfloat16* from) {
    Lanes<2> taps[kTaps];
    load_taps<kTaps, 2>(taps, from);
    prefetch_weights(from);
    const auto both = [&](int a, int b)
                          __attribute__((always_inline)) { return Interleaved((__m512i)taps[a], (__m512i)taps[b]); };
    return {both(0, 3), both(1, 4), both(2, 5), both(6, 7), {(__m512i)taps[8], _mm512_setzero_si512()}};
  }
  template <int UNITS, int U> COTNET_INLINE DotWeights of_unit() const {
    DotWeights part = *this;
#pragma GCC unroll 5
    for (int d = 0; d < kDots; ++d) {
      part.dots[d].lower = repeat_unit<UNITS, U>(dots[d].lower);
      part.dots[d].upper = repeat_unit<UNITS, U>(dots[d].upper);
    }
    return part;
  }
};

// One pack of channels of two pixels `pixel_stride` apart.
COTNET_INLINE void aggregate_pair_bf16(Bfloat16* out, int64_t pixel_stride, const Bfloat16* const* x, int64_t offset,
                                       const DotWeights& left, const DotWeights& right) {
  const auto read = [&](int cell)
                        __attribute__((always_inline)) { return _mm512_loadu_si512(opaque(x[cell] + offset)); };
  DotSums a, b;
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const Interleaved two(read(v), read(4 + v));
    if (v < 3) a.add(two, left.dots[v]);
    if (v > 0) b.add(two, right.dots[v - 1]);
  }
  const __m512i zero = _mm512_setzero_si512(), middle = read(9), third = read(10);
  a.add({read(8), middle}, left.dots[3]);
  a.add({third, zero}, left.dots[4]);
  b.add({middle, third}, right.dots[3]);
  b.add({read(11), zero}, right.dots[4]);
  a.store(out);
  b.store(out + pixel_stride);
}

// Rows first to last of all images' output rows.
template <int UNITS> int aggregate_nhwc_3x3_pair_bf16(const AggregateProblem& p, const Bfloat16* value,
                                                      const Bfloat16* weight, Bfloat16* out, int64_t first,
                                                      int64_t last) {
  constexpr int width = kWidth<Bfloat16>, pixels = UNITS < 2 ? 2 : UNITS;  // at once
  const int64_t out_pixel = p.out_strides[3], weight_pixel = p.weight_strides[4];
  const int64_t heads = p.heads / p.groups, channels = p.channels / p.groups, period = UNITS == 1 ? heads : width;

  Scratch scratch;
  InputWindow<Bfloat16> window(scratch, p, 4);
  if (scratch.failed) return kOutOfMemory;

  for_each_row(p, window, value, weight, out, first, last, [&](const Bfloat16* weights, Bfloat16* row) {
    for (int64_t begin = 0; begin < p.out_w; begin += pixels) {
      // The last pixels of a row may be some of those before them once more.
      const int64_t j = begin + pixels <= p.out_w ? begin : p.out_w - pixels;
      const auto aggregate = [&](int64_t from, const DotWeights& left, const DotWeights& right, int64_t c,
                                 int64_t end) __attribute__((always_inline)) {
        Bfloat16* target = row + (j + from) * out_pixel;
        window.move_to(j + from);
        for (; c < end; c += period)
          aggregate_pair_bf16(target + c, out_pixel, window.x, window.offset + c, left, right);
      };
      for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t m = 0; m < heads; m += width) {
          const int64_t c = group * channels + m, end = (group + 1) * channels;
          const Bfloat16* from = weights + (j * p.heads + group * heads + m) * kTaps;
          const DotWeights w = DotWeights::read(from);
          if constexpr (UNITS == 1) aggregate(0, w, DotWeights::read(from + weight_pixel), c, end);
          if constexpr (UNITS > 1) aggregate(0, w.of_unit<UNITS, 0>(), w.of_unit<UNITS, 1>(), c, end);
          if constexpr (UNITS > 2) aggregate(2, w.of_unit<UNITS, 2>(), w.of_unit<UNITS, 3>(), c, end);
        }
    }
  });
  return kOk;
}
#else  // named in branches that are never compiled
template <int UNITS>
int aggregate_nhwc_3x3_pair_bf16(const AggregateProblem&, const Bfloat16*, const Bfloat16*, Bfloat16*, int64_t,
                                 int64_t);
#endif

}  // namespace
