// 3x3 windows and a channels_last weight: as many weights as fill a pack for each tap are read where they lie,
// transposed in registers and used at once. One pixel at a time; nhwc_3x3_pair.h takes two.
//
// A unit is the part of a pixel that one group has: its heads lie in memory right before those of the next unit. Either
// UNITS of them fill a pack, or a unit takes several packs (UNITS is 1).
#pragma once

#include "../simd/tap_transpose.h"
#include "nhwc_pixel.h"
#include "window.h"

namespace {

constexpr int kTaps = 9;

// Each weight is read once, so only the next ones can be on their way.
template <class T> COTNET_INLINE void prefetch_weights(const T* from) {
  constexpr int ahead = 4;  // packs
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) __builtin_prefetch(from + (ahead * kTaps + t) * kWidth<T>);
}

// A pack of weights of every tap, as the packs of channels of each unit meet them. Where units share a pack it is
// widened once and laid down, so that a unit's part is repeated by the load itself.
template <class T, int UNITS> class PackWeights {
  using A = Accumulator<T>;
  static constexpr int lanes = kLanes<A>, vectors = int(sizeof(A) / sizeof(T));

 public:
  COTNET_INLINE void read(const T* from) {
    load_taps<kTaps, sizeof(T)>(raw_, from);
    if constexpr (UNITS > 1) {
      for (int t = 0; t < kTaps; ++t) {
        const Pack<T> wide = unpack<T>((Words)raw_[t]);
        for (int i = 0; i < vectors; ++i) store(wide_[t][i], wide.v[i]);
      }
      // Else the compiler would repeat parts by shuffles after all, whose execution units are scarce.
      parts_ = opaque(static_cast<const A*>(&wide_[0][0][0]));
    }
  }
  template <int U> COTNET_INLINE Pack<T> of_unit(int t) const {
    if constexpr (UNITS == 1) {
      return unpack<T>((Words)raw_[t]);
    } else {
      const A* at = parts_ + t * vectors * lanes + U * lanes / UNITS;
      Pack<T> part;
      for (int i = 0; i < vectors; ++i) part.v[i] = load_repeated<A, UNITS>(at + i * lanes).v[0];
      return part;
    }
  }

 private:
  Lanes<sizeof(T)> raw_[kTaps];
  alignas(64) A wide_[kTaps][vectors][lanes];
  const A* parts_;
};

// COUNT packs of channels, `period` apart, that share their weights.
template <class T, int UNITS, int U, int COUNT>
COTNET_INLINE void aggregate_3x3_packs(T* out, const T* const* x, int64_t offset, const PackWeights<T, UNITS>& w,
                                       int64_t period) {
  Pack<T> sums[COUNT] = {};
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) {
    const Pack<T> weight = w.template of_unit<U>(t);
    const T* from = opaque(x[t] + offset);
#pragma GCC unroll 8
    for (int q = 0; q < COUNT; ++q) multiply_add(sums[q], weight, load_pack(from + q * period));
  }
#pragma GCC unroll 8
  for (int q = 0; q < COUNT; ++q) store_pack(out + q * period, sums[q]);
}

// The channels of unit U that use the pack of heads: first, first + period, ... below end.
template <class T, int UNITS, int U> COTNET_INLINE void aggregate_3x3_unit(T* out, const T* const* x, int64_t offset,
                                                                           const PackWeights<T, UNITS>& w,
                                                                           int64_t first, int64_t end, int64_t period) {
  // The channels of CoT come in eights.
  constexpr int width = kWidth<T>, count = 8 / UNITS;
  int64_t c = first;
  for (; c + (count - 1) * period + width <= end; c += count * period)
    aggregate_3x3_packs<T, UNITS, U, count>(out + c, x, offset + c, w, period);
  for (; c + width <= end; c += period) aggregate_3x3_packs<T, UNITS, U, 1>(out + c, x, offset + c, w, period);
  if (const int64_t left = end - c; left > 0) {
    Pack<T> sum = {};
    for (int t = 0; t < kTaps; ++t) multiply_add(sum, w.template of_unit<U>(t), load_some(x[t] + offset + c, left));
    store_some(out + c, sum, left);
  }
}

template <class Body, int... U> COTNET_INLINE void for_each_unit(const Body& body, std::integer_sequence<int, U...>) {
  (body(std::integral_constant<int, U>()), ...);
}

// Rows first to last of all images' output rows.
template <class T, int UNITS> int aggregate_nhwc_3x3(const AggregateProblem& p, const T* value, const T* weight, T* out,
                                                     int64_t first, int64_t last) {
  constexpr int width = kWidth<T>;
  const int64_t out_pixel = p.out_strides[3];
  const int64_t heads = p.heads / p.groups, channels = p.channels / p.groups, period = UNITS == 1 ? heads : width;
  const int64_t units = p.out_w * p.groups;

  Scratch scratch;
  InputWindow<T> window(scratch, p);
  T* rest = scratch.take<T>(width * kTaps);
  if (scratch.failed) return kOutOfMemory;

  for_each_row(p, window, value, weight, out, first, last, [&](const T* weights, T* row) {
    int64_t j = 0, group = 0;
    for (int64_t unit = 0; unit < units; unit += UNITS) {
      for (int64_t m = 0; m < (UNITS == 1 ? heads : 1); m += width, weights += width * kTaps) {
        const T* from = weights;
        if (UNITS > 1 && unit + UNITS > units) {
          memcpy(rest, weights, size_t((units - unit) * heads * kTaps) * sizeof(T));
          from = rest;
        }
        PackWeights<T, UNITS> w;
        w.read(from);
        prefetch_weights(weights);
        const auto aggregate_unit = [&](auto u) __attribute__((always_inline)) {
          if (unit + u.value >= units) return;
          window.move_to(j);
          const int64_t c = group * channels;
          aggregate_3x3_unit<T, UNITS, u.value>(row + j * out_pixel, window.x, window.offset, w, c + m, c + channels,
                                                period);
          if (UNITS > 1 && ++group == p.groups) group = 0, ++j;
        };
        for_each_unit(aggregate_unit, std::make_integer_sequence<int, UNITS>());
      }
      if (UNITS == 1 && ++group == p.groups) group = 0, ++j;
    }
  });
  return kOk;
}

}  // namespace
