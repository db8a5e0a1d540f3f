// Vectors along pixels without a copy of the input, for dense planes: a tap reads its shifted run of pixels where it
// lies, and the lanes whose cell of the window is outside the image are switched off. Needs loads that leave such
// lanes untouched.
#pragma once

#include "../runtime/parallel.h"
#include "layout.h"

namespace {

#if defined(__AVX512F__)
COTNET_INLINE Vector<float> load_masked(const float* from, uint32_t mask) {
  return (Vector<float>)_mm512_maskz_loadu_ps(__mmask16(mask), from);
}
COTNET_INLINE Vector<double> load_masked(const double* from, uint32_t mask) {
  return (Vector<double>)_mm512_maskz_loadu_pd(__mmask8(mask), from);
}
template <class T> COTNET_INLINE Vector<float> load_masked(const T* from, uint32_t mask) {
  return widen_words<T>((Words)_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(__mmask16(mask), from)));
}
COTNET_INLINE void store_masked(float* to, Vector<float> x, uint32_t mask) {
  _mm512_mask_storeu_ps(to, __mmask16(mask), (__m512)x);
}
COTNET_INLINE void store_masked(double* to, Vector<double> x, uint32_t mask) {
  _mm512_mask_storeu_pd(to, __mmask8(mask), (__m512d)x);
}
template <class T> COTNET_INLINE void store_masked(T* to, Vector<float> x, uint32_t mask) {
  _mm256_mask_storeu_epi16(to, __mmask16(mask), _mm512_cvtepi32_epi16((__m512i)narrow_words<T>(x)));
}

// For each tap, how far its run of pixels is shifted, and a bit for each pixel whose cell is inside; then a row of bits
// for all pixels. Forward, cells are those of the window around a pixel; backward, pixels whose windows hold it.
template <class T> class TapMasks {
 public:
  static constexpr int kPixels = kLanes<Accumulator<T>>;  // of a mask
  int64_t taps, pixels;
  int64_t* offset;

  TapMasks(Scratch& scratch, const AggregateProblem& p, Direction direction)
      : taps(p.kernel_size * p.kernel_size),
        pixels(p.height * p.width),
        offset(scratch.take<int64_t>(taps + 1)),
        pitch_(pixels / 8 + 8),
        bits_(scratch.take<uint8_t>((taps + 1) * pitch_)) {
    if (scratch.failed) return;
    const int64_t k = p.kernel_size, pad = p.dilation * (k / 2), sign = direction == kForward ? 1 : -1;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t down = sign * (t / k * p.dilation - pad), right = sign * (t % k * p.dilation - pad);
      offset[t] = down * p.width + right;
      const int64_t first = right < 0 ? -right : 0, last = right > 0 ? p.width - right : p.width;
      for (int64_t row = 0; row < p.height; ++row)
        if (row + down >= 0 && row + down < p.height) set(t, row * p.width + first, row * p.width + last);
    }
    offset[taps] = 0;
    set(taps, 0, pixels);
  }
  COTNET_INLINE uint32_t mask(int64_t tap, int64_t pixel) const {
    uint16_t mask;
    memcpy(&mask, bits_ + tap * pitch_ + pixel / 8, sizeof mask);
    return mask;
  }

 private:
  void set(int64_t tap, int64_t bit, int64_t end) {
    uint8_t* row = bits_ + tap * pitch_;
    while (bit < end) {
      const bool whole = bit % 8 == 0 && end - bit >= 8;
      row[bit / 8] |= uint8_t(whole ? 0xff : 1 << bit % 8);
      bit += whole ? 8 : 1;
    }
  }
  int64_t pitch_;
  uint8_t* bits_;
};

// A pixel of channel q at out[q * out_step] is the sum over t of w[t * w_tap] * x[q * x_step], both where the tap
// reads.
template <class T, int COUNT, Direction DIRECTION>
COTNET_INLINE void aggregate_masked(const TapMasks<T>& masks, int64_t at, T* out, int64_t out_step, const T* x,
                                    int64_t x_step, const T* w, int64_t w_tap) {
  constexpr bool forward = DIRECTION == kForward;
  const uint32_t all = masks.mask(masks.taps, at);
  Vector<Accumulator<T>> sums[COUNT] = {};
  for (int64_t t = 0; t < masks.taps; ++t) {
    const uint32_t mask = masks.mask(t, at);
    const int64_t from = at + masks.offset[t];
    // A weight of the pixel itself counts outside the image, too, where it meets a zero: it may be infinite.
    const auto weight = load_masked(w + t * w_tap + (forward ? at : from), forward ? all : mask);
#pragma GCC unroll 8
    for (int q = 0; q < COUNT; ++q) sums[q] += weight * load_masked(x + q * x_step + from, mask);
  }
#pragma GCC unroll 8
  for (int q = 0; q < COUNT; ++q) store_masked(out + q * out_step + at, sums[q], all);
}

// The operator, or its gradient by the value.
template <class T, Direction DIRECTION>
int aggregate_nchw_masked(const AggregateProblem& p, const T* input, const T* weight, T* output) {
  constexpr bool forward = DIRECTION == kForward;
  const int64_t *is = forward ? p.value_strides : p.out_strides, *os = forward ? p.out_strides : p.value_strides;
  const int64_t* ws = p.weight_strides;
  Scratch scratch;
  const TapMasks<T> masks(scratch, p, DIRECTION);
  if (scratch.failed) return kOutOfMemory;
  return parallel_for(useful_threads(p), p.batch * p.heads, [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      const Head head(p, number);
      const T* x = input + head.n * is[0] + head.first_channel * is[1];
      const T* w = weight + head.n * ws[0] + head.head * ws[1];
      T* out = output + head.n * os[0] + head.first_channel * os[1];
      const int64_t x_step = head.channel_step * is[1], out_step = head.channel_step * os[1];
      for (int64_t at = 0; at < masks.pixels; at += TapMasks<T>::kPixels)
        for_blocks<8, 1>(head.channels, [&](auto count, int64_t q) __attribute__((always_inline)) {
          aggregate_masked<T, count.value, DIRECTION>(masks, at, out + q * out_step, out_step, x + q * x_step, x_step,
                                                      w, ws[2]);
        });
    }
    return int(kOk);
  });
}

// COUNT taps of a head's gradient: sums over the channels of the gradient times what the tap reads.
template <class T, int COUNT>
COTNET_INLINE void grad_weight_masked(const TapMasks<T>& masks, int64_t at, int64_t tap, T* out, int64_t out_tap,
                                      const T* grad, int64_t grad_step, const T* x, int64_t x_step, int64_t channels) {
  const uint32_t all = masks.mask(masks.taps, at);
  Vector<Accumulator<T>> sums[COUNT] = {};
  for (int64_t q = 0; q < channels; ++q) {
    const auto held = load_masked(grad + q * grad_step + at, all);
#pragma GCC unroll 9
    for (int t = 0; t < COUNT; ++t)
      sums[t] += held * load_masked(x + q * x_step + at + masks.offset[tap + t], masks.mask(tap + t, at));
  }
#pragma GCC unroll 9
  for (int t = 0; t < COUNT; ++t) store_masked(out + (tap + t) * out_tap + at, sums[t], all);
}

template <class T>
int grad_weight_nchw_masked(const AggregateProblem& p, const T* grad_out, const T* value, T* grad_weight) {
  const int64_t *vs = p.value_strides, *os = p.out_strides, *ws = p.weight_strides;
  Scratch scratch;
  const TapMasks<T> masks(scratch, p, kForward);
  if (scratch.failed) return kOutOfMemory;
  return parallel_for(useful_threads(p), p.batch * p.heads, [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      const Head head(p, number);
      const T* x = value + head.n * vs[0] + head.first_channel * vs[1];
      const T* grad = grad_out + head.n * os[0] + head.first_channel * os[1];
      T* out = grad_weight + head.n * ws[0] + head.head * ws[1];
      const int64_t x_step = head.channel_step * vs[1], grad_step = head.channel_step * os[1];
      for (int64_t at = 0; at < masks.pixels; at += TapMasks<T>::kPixels)
        for_blocks<9, 1>(masks.taps, [&](auto count, int64_t t) __attribute__((always_inline)) {
          grad_weight_masked<T, count.value>(masks, at, t, out, ws[2], grad, grad_step, x, x_step, head.channels);
        });
    }
    return int(kOk);
  });
}
#else  // named in branches that are never compiled
template <class T, Direction DIRECTION>
int aggregate_nchw_masked(const AggregateProblem&, const T*, const T*, T*);
#endif

}  // namespace
