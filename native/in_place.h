// Vectors along columns without a copy, for maps whose images are dense: a tap reads its shifted run of pixels where it
// lies, and the lanes whose cell of the window is outside the image are switched off. Needs loads that leave such
// lanes untouched.
#pragma once

#include "parallel.h"
#include "scratch.h"
#include "simd.h"

namespace {

#if defined(__AVX512F__)
constexpr bool kMaskedLoads = true;

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
#else
constexpr bool kMaskedLoads = false;
#endif

// Whether each channel's image is one run of pixels, in all three tensors.
inline bool dense_images(const Problem& p) {
  const auto dense = [&](const int64_t* s) { return (p.width == 1 || s[1] == 1) && (p.height == 1 || s[0] == p.width); };
  return p.stride == 1 && dense(p.value_strides + 2) && dense(p.out_strides + 2) && dense(p.weight_strides + 3);
}

// For each tap, how far its run is shifted, and a bit for each pixel whose cell is inside; then a row of bits for all
// pixels. DIRECTION is 1 for cells of the window around a pixel, -1 for pixels whose windows hold it.
template <class T> class Cells {
 public:
  static constexpr int kLanesOfMask = kLanes<Accumulator<T>>;
  int64_t taps, pixels;
  int64_t* offset;

  Cells(Scratch& scratch, const Problem& p, int64_t direction)
      : taps(p.kernel_size * p.kernel_size), pixels(p.height * p.width), pitch_(pixels / 8 + 8) {
    offset = scratch.take<int64_t>(taps + 1);
    bits_ = scratch.take<uint8_t>((taps + 1) * pitch_);
    if (scratch.failed) return;
    const int64_t k = p.kernel_size, pad = p.dilation * (k / 2);
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t down = direction * (t / k * p.dilation - pad), right = direction * (t % k * p.dilation - pad);
      offset[t] = down * p.width + right;
      const int64_t first = right < 0 ? -right : 0, last = right > 0 ? p.width - right : p.width;
      for (int64_t row = 0; row < p.height; ++row)
        if (row + down >= 0 && row + down < p.height) set(t, row * p.width + first, row * p.width + last);
    }
    offset[taps] = 0;
    set(taps, 0, pixels);
  }
  COTNET_INLINE uint32_t mask(int64_t tap, int64_t at) const {
    uint16_t mask;
    memcpy(&mask, bits_ + tap * pitch_ + at / 8, sizeof mask);
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

// One map of one image, and the channels that share it.
struct Sharing {
  int64_t n, map, first_channel, channel_step, channels;

  Sharing(const Problem& p, int64_t task) {
    const int64_t maps = p.maps / p.blocks, per_block = p.channels / p.blocks;
    n = task / p.maps, map = task % p.maps;
    first_channel = map / maps * per_block + map % maps, channel_step = maps, channels = per_block / maps;
  }
};

// A pixel of channel q at out[q * out_step] is the sum over t of w[t * w_tap] * x[q * x_step], both where the tap reads.
template <class T, int COUNT, bool FORWARD>
COTNET_INLINE void sum_cells(const Cells<T>& cells, int64_t at, T* out, int64_t out_step, const T* x, int64_t x_step,
                             const T* w, int64_t w_tap) {
  const uint32_t all = cells.mask(cells.taps, at);
  Vector<Accumulator<T>> sums[COUNT] = {};
  for (int64_t t = 0; t < cells.taps; ++t) {
    const uint32_t mask = cells.mask(t, at);
    const int64_t from = at + cells.offset[t];
    // A weight of the pixel itself counts outside the image, too, where it meets a zero: it may be infinite.
    const auto weight = load_masked(w + t * w_tap + (FORWARD ? at : from), FORWARD ? all : mask);
#pragma GCC unroll 8
    for (int q = 0; q < COUNT; ++q) sums[q] += weight * load_masked(x + q * x_step + from, mask);
  }
#pragma GCC unroll 8
  for (int q = 0; q < COUNT; ++q) store_masked(out + q * out_step + at, sums[q], all);
}

// The operator, or its gradient by the value.
template <class T, bool FORWARD> int sum_in_place(const Problem& p, const T* input, const T* weight, T* output) {
  const int64_t *is = FORWARD ? p.value_strides : p.out_strides, *os = FORWARD ? p.out_strides : p.value_strides;
  const int64_t* ws = p.weight_strides;
  Scratch scratch;
  const Cells<T> cells(scratch, p, FORWARD ? 1 : -1);
  if (scratch.failed) return kOutOfMemory;
  return over_tasks(p, p.batch * p.maps, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Sharing s(p, task);
      const T* x = input + s.n * is[0] + s.first_channel * is[1];
      const T* w = weight + s.n * ws[0] + s.map * ws[1];
      T* out = output + s.n * os[0] + s.first_channel * os[1];
      const int64_t x_step = s.channel_step * is[1], out_step = s.channel_step * os[1];
      for (int64_t at = 0; at < cells.pixels; at += Cells<T>::kLanesOfMask) {
        int64_t q = 0;
        for (; q + 8 <= s.channels; q += 8)
          sum_cells<T, 8, FORWARD>(cells, at, out + q * out_step, out_step, x + q * x_step, x_step, w, ws[2]);
        for (; q < s.channels; ++q)
          sum_cells<T, 1, FORWARD>(cells, at, out + q * out_step, out_step, x + q * x_step, x_step, w, ws[2]);
      }
    }
    return int(kDone);
  });
}

// COUNT taps of a map's gradient: sums over the channels of the gradient times what the tap reads.
template <class T, int COUNT>
COTNET_INLINE void sum_products(const Cells<T>& cells, int64_t at, int64_t tap, T* out, int64_t out_tap, const T* grad,
                                int64_t grad_step, const T* x, int64_t x_step, int64_t channels) {
  const uint32_t all = cells.mask(cells.taps, at);
  Vector<Accumulator<T>> sums[COUNT] = {};
  for (int64_t q = 0; q < channels; ++q) {
    const auto held = load_masked(grad + q * grad_step + at, all);
#pragma GCC unroll 9
    for (int t = 0; t < COUNT; ++t)
      sums[t] += held * load_masked(x + q * x_step + at + cells.offset[tap + t], cells.mask(tap + t, at));
  }
#pragma GCC unroll 9
  for (int t = 0; t < COUNT; ++t) store_masked(out + (tap + t) * out_tap + at, sums[t], all);
}

template <class T> int grad_weight_in_place(const Problem& p, const T* grad_out, const T* value, T* grad_weight) {
  const int64_t *vs = p.value_strides, *os = p.out_strides, *ws = p.weight_strides;
  Scratch scratch;
  const Cells<T> cells(scratch, p, 1);
  if (scratch.failed) return kOutOfMemory;
  return over_tasks(p, p.batch * p.maps, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Sharing s(p, task);
      const T* x = value + s.n * vs[0] + s.first_channel * vs[1];
      const T* grad = grad_out + s.n * os[0] + s.first_channel * os[1];
      T* out = grad_weight + s.n * ws[0] + s.map * ws[1];
      const int64_t x_step = s.channel_step * vs[1], grad_step = s.channel_step * os[1];
      for (int64_t at = 0; at < cells.pixels; at += Cells<T>::kLanesOfMask) {
        int64_t t = 0;
        for (; t + 9 <= cells.taps; t += 9)
          sum_products<T, 9>(cells, at, t, out, ws[2], grad, grad_step, x, x_step, s.channels);
        for (; t < cells.taps; ++t)
          sum_products<T, 1>(cells, at, t, out, ws[2], grad, grad_step, x, x_step, s.channels);
      }
    }
    return int(kDone);
  });
}

}  // namespace
