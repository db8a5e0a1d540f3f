// Two neighbouring pixels at once, float32 and float64: a value is read once for both windows. Weights are transposed in
// registers as in straight.h, and both pixels' stay there, which takes the 32 registers of AVX-512.
#pragma once

#include <type_traits>

#include "dot_pairs.h"
#include "straight.h"

namespace {

#if defined(__AVX512F__)
template <class T> constexpr bool kPairs = kAccumulates<T>;

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

  // Where a vector holds both pixels' maps, they lie at `from`; else those of the right pixel `pixel` elements further.
  template <int UNITS> COTNET_INLINE void read(const T* from, int64_t pixel) {
    constexpr auto lanes = std::make_integer_sequence<int, kWidth<T>>();
    Lanes<sizeof(T)> here[kTaps], next[kTaps];
    load_taps<kTaps, sizeof(T)>(here, from);
    if constexpr (UNITS == 1) load_taps<kTaps, sizeof(T)>(next, from + pixel);
#pragma GCC unroll 9
    for (int t = 0; t < kTaps; ++t) {
      left[t] = UNITS == 1 ? (Vector<T>)here[t] : repeat_half<0>((Vector<T>)here[t], lanes);
      right[t] = UNITS == 1 ? (Vector<T>)next[t] : repeat_half<1>((Vector<T>)here[t], lanes);
    }
    prefetch_weights(from);
    if constexpr (UNITS == 1) prefetch_weights(from + pixel);
  }
};

constexpr int kColumns = 4;  // of two windows

// COUNT vectors of channels, `period` apart, of two pixels `pixel` apart.
template <class T, int COUNT>
COTNET_INLINE void sum_pair(T* out, int64_t pixel, const T* const* x, int64_t x_at, const PairWeights<T>& w, int64_t period) {
  Vector<T> left[COUNT] = {}, right[COUNT] = {};
#pragma GCC unroll 3
  for (int u = 0; u < 3; ++u)
#pragma GCC unroll 4
    for (int v = 0; v < kColumns; ++v) {
      const T* from = opaque(x[u * kColumns + v] + x_at);
#pragma GCC unroll 4
      for (int q = 0; q < COUNT; ++q) {
        const Vector<T> held = in_register(load(from + q * period));
        if (v < 3) left[q] += w.left[3 * u + v] * held;
        if (v > 0) right[q] += w.right[3 * u + v - 1] * held;
      }
    }
#pragma GCC unroll 4
  for (int q = 0; q < COUNT; ++q) store(out + q * period, left[q]), store(out + pixel + q * period, right[q]);
}

constexpr int64_t kFar = 16 << 20;  // bytes of all maps, from which on they are not expected to stay in a cache

// What a pair further on reads last of all rows, and where it writes.
template <class T> COTNET_INLINE void prefetch_pair(const T* x, const T* out, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kWidth<T>) __builtin_prefetch(x + c), __builtin_prefetch(out + c, 1);
}

// Rows first to last of all images' output rows.
template <class T, int UNITS>
int aggregate_pairs(const Problem& p, const T* value, const T* weight, T* out, int64_t first, int64_t last) {
  constexpr int width = kWidth<T>, count = 4, ahead = 16;
  const int64_t *vs = p.value_strides, *os = p.out_strides, *ws = p.weight_strides;
  const int64_t maps = p.maps / p.blocks, channels = p.channels / p.blocks, period = UNITS == 1 ? maps : width;

  const bool far = p.batch * (p.channels * (p.height * p.width + p.out_h * p.out_w) + p.maps * kTaps * p.out_h * p.out_w) *
                       int64_t(sizeof(T)) > kFar;

  Scratch scratch;
  ValueWindow<T> window(scratch, p, kColumns);
  if (scratch.failed) return kOutOfMemory;

  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.out_h, i = r % p.out_h;
    const T* weights = weight + n * ws[0] + i * ws[3];
    T* row = out + n * os[0] + i * os[2];
    window.start_row(value + n * vs[0], i);
    for (int64_t pair = 0; pair < p.out_w; pair += 2) {
      // The last pair of an odd row has a pixel of the one before it.
      const int64_t j = pair + 2 <= p.out_w ? pair : p.out_w - 2;
      window.move_to(j);
      if (far) prefetch_pair(window.x[2 * kColumns] + window.at + ahead * vs[3], row + (j + ahead) * os[3], 2 * p.channels);
      for (int64_t block = 0; block < p.blocks; ++block)
        for (int64_t m = 0; m < maps; m += width) {
          PairWeights<T> w;
          w.template read<UNITS>(weights + (j * p.maps + block * maps + m) * kTaps, ws[4]);
          T* target = row + j * os[3];
          int64_t c = block * channels + m;
          const int64_t end = (block + 1) * channels;
          for (; c + (count - 1) * period < end; c += count * period)
            sum_pair<T, count>(target + c, os[3], window.x, window.at + c, w, period);
          for (; c < end; c += period) sum_pair<T, 1>(target + c, os[3], window.x, window.at + c, w, period);
        }
    }
  }
  return kDone;
}
#else
template <class T> constexpr bool kPairs = false;
template <class T, int UNITS> int aggregate_pairs(const Problem&, const T*, const T*, T*, int64_t, int64_t);
#endif

// Whether vectors of channels lie in pixels that may be taken together.
template <class T> bool in_pairs(const Problem& p, int units) {
  const bool whole_vectors = units == 1 || (p.blocks == 1 && p.channels % kWidth<T> == 0);
  return units > 0 && whole_vectors && p.stride == 1 && p.dilation == 1 && p.out_w >= (units < 2 ? 2 : units);
}

// The shortest way that is open, or null.
template <class T> auto aggregate_straight_for(const Problem& p) {
  const int units = units_together<T>(p);
  if constexpr (kPairs<T>)
    if (in_pairs<T>(p, units) && units <= 2) return units == 1 ? aggregate_pairs<T, 1> : aggregate_pairs<T, 2>;
#if defined(__AVX512BF16__)
  if constexpr (std::is_same<T, Bfloat16>::value)
    if (in_pairs<T>(p, units)) return units == 1 ? aggregate_dots<1> : units == 2 ? aggregate_dots<2> : aggregate_dots<4>;
#endif
  if (units == 4) return aggregate_straight<T, kWidth<T> < 4 ? 1 : 4>;
  return units == 2 ? aggregate_straight<T, 2> : units == 1 ? aggregate_straight<T, 1> : nullptr;
}

}  // namespace
