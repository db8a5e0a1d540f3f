// Two neighboring pixels at once, float32 and float64 on AVX-512: a value is read once for both windows. Weights are
// transposed in registers as in nhwc_3x3.h, and those of both pixels stay there: 9 + 9 of the 32 registers. The other
// 14: 4 + 4 sums of both pixels, the value, and what the compiler needs between loads.
#pragma once

#include "dispatch.h"
#include "nhwc_3x3.h"

namespace {

#if defined(__AVX512F__)
// Keeps the compiler from reading the same value from memory for each of its uses.
template <class V> COTNET_INLINE V in_register(V x) {
  __asm__("" : "+v"(x));
  return x;
}

// One half of a vector, twice.
template <int HALF, class V, int... R> COTNET_INLINE V repeat_half(V x, std::integer_sequence<int, R...>) {
  constexpr int lanes = sizeof...(R) / 2;
  return __builtin_shufflevector(x, x, (R % lanes + HALF * lanes)...);
}

// The weights of two pixels for one vector of channels.
template <class T> struct PairWeights {
  Vector<T> left[kTaps], right[kTaps];

  // Where a vector holds both pixels' heads, they lie at `from`; else those of the right pixel `pixel_stride` further.
  template <int UNITS> COTNET_INLINE void read(const T* from, int64_t pixel_stride) {
    constexpr auto lanes = std::make_integer_sequence<int, kWidth<T>>();
    Lanes<sizeof(T)> here[kTaps], next[kTaps];
    load_taps<kTaps, sizeof(T)>(here, from);
    if constexpr (UNITS == 1) load_taps<kTaps, sizeof(T)>(next, from + pixel_stride);
#pragma GCC unroll 9
    for (int t = 0; t < kTaps; ++t) {
      left[t] = UNITS == 1 ? (Vector<T>)here[t] : repeat_half<0>((Vector<T>)here[t], lanes);
      right[t] = UNITS == 1 ? (Vector<T>)next[t] : repeat_half<1>((Vector<T>)here[t], lanes);
    }
    prefetch_weights(from);
    if constexpr (UNITS == 1) prefetch_weights(from + pixel_stride);
  }
};

constexpr int kPairColumns = 4;  // of the windows of two neighbors together

// COUNT vectors of channels, `period` apart, of two pixels `pixel_stride` apart.
template <class T, int COUNT> COTNET_INLINE void aggregate_pair(T* out, int64_t pixel_stride, const T* const* x,
                                                                int64_t offset, const PairWeights<T>& w,
                                                                int64_t period) {
  Vector<T> left[COUNT] = {}, right[COUNT] = {};
#pragma GCC unroll 3
  for (int u = 0; u < 3; ++u)
#pragma GCC unroll 4
    for (int v = 0; v < kPairColumns; ++v) {
      const T* from = opaque(x[u * kPairColumns + v] + offset);
#pragma GCC unroll 4
      for (int q = 0; q < COUNT; ++q) {
        const Vector<T> held = in_register(load(from + q * period));
        if (v < 3) left[q] += w.left[3 * u + v] * held;
        if (v > 0) right[q] += w.right[3 * u + v - 1] * held;
      }
    }
#pragma GCC unroll 4
  for (int q = 0; q < COUNT; ++q) {
    store(out + q * period, left[q]);
    store(out + pixel_stride + q * period, right[q]);
  }
}

// Whether the tensors are not expected to stay in a cache.
template <class T> bool exceeds_caches(const AggregateProblem& p) {
  constexpr int64_t bytes = 16 << 20;
  const int64_t outputs = p.out_h * p.out_w;
  const int64_t elements = p.batch * (p.channels * (p.height * p.width + outputs) + p.heads * kTaps * outputs);
  return elements * int64_t(sizeof(T)) > bytes;
}

// What a pair further on reads last of all rows, and where it writes.
template <class T> COTNET_INLINE void prefetch_pair(const T* x, const T* out, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kWidth<T>) {
    __builtin_prefetch(x + c);
    __builtin_prefetch(out + c, 1);
  }
}

// Rows first to last of all images' output rows.
template <class T, int UNITS> int aggregate_nhwc_3x3_pair(const AggregateProblem& p, const T* value, const T* weight,
                                                          T* out, int64_t first, int64_t last) {
  constexpr int width = kWidth<T>, count = 4, ahead = 16;
  const int64_t in_pixel = p.value_strides[3], out_pixel = p.out_strides[3], weight_pixel = p.weight_strides[4];
  const int64_t heads = p.heads / p.groups, channels = p.channels / p.groups, period = UNITS == 1 ? heads : width;
  const bool far = exceeds_caches<T>(p);

  Scratch scratch;
  InputWindow<T> window(scratch, p, kPairColumns);
  if (scratch.failed) return kOutOfMemory;

  for_each_row(p, window, value, weight, out, first, last, [&](const T* weights, T* row) {
    for (int64_t pair = 0; pair < p.out_w; pair += 2) {
      // The last pair of an odd row has a pixel of the one before it.
      const int64_t j = pair + 2 <= p.out_w ? pair : p.out_w - 2;
      T* target = row + j * out_pixel;
      window.move_to(j);
      if (far)
        prefetch_pair(window.x[2 * kPairColumns] + window.offset + ahead * in_pixel, target + ahead * out_pixel,
                      2 * p.channels);
      for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t m = 0; m < heads; m += width) {
          PairWeights<T> w;
          w.template read<UNITS>(weights + (j * p.heads + group * heads + m) * kTaps, weight_pixel);
          int64_t c = group * channels + m;
          const int64_t end = (group + 1) * channels;
          for (; c + (count - 1) * period < end; c += count * period)
            aggregate_pair<T, count>(target + c, out_pixel, window.x, window.offset + c, w, period);
          for (; c < end; c += period)
            aggregate_pair<T, 1>(target + c, out_pixel, window.x, window.offset + c, w, period);
        }
    }
  });
  return kOk;
}
#else  // named in branches that are never compiled
template <class T, int UNITS>
int aggregate_nhwc_3x3_pair(const AggregateProblem&, const T*, const T*, T*, int64_t, int64_t);
#endif

}  // namespace
