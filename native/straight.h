// The shortest way, for 3x3 windows and a channels_last weight: as many weights as fill a pack for each tap are read
// where they lie, transposed in registers and used at once.
//
// A unit is the part of a pixel that one block has: its maps lie in memory right before those of the next unit. Either
// several units fill a pack, or a unit takes several packs.
#pragma once

#include "pixel.h"
#include "taps.h"
#include "window.h"

namespace {

constexpr int kTaps = 9;

// Each weight is read once, so only the next ones can be on their way.
template <class T> COTNET_INLINE void prefetch_weights(const T* from) {
  constexpr int ahead = 4;  // packs
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) __builtin_prefetch(from + (ahead * kTaps + t) * kWidth<T>);
}

// Units that share a pack, a power of two up to 4, or 0 where this way is closed.
template <class T> int units_together(const Problem& p) {
  const int64_t maps = p.maps / p.blocks, *ws = p.weight_strides;
  const bool dense = ws[2] == 1 && (p.maps == 1 || ws[1] == kTaps) && (p.out_w == 1 || ws[4] == p.maps * kTaps);
  if (p.kernel_size != 3 || !dense) return 0;
  if (maps % kWidth<T> == 0) return 1;
  return maps * 2 == kWidth<T> ? 2 : maps * 4 == kWidth<T> ? 4 : 0;
}

// The weights of every tap as a unit's packs of channels meet them. Where units share a pack it is widened once and laid
// down, so that a unit's part is repeated by the load itself.
template <class T, int UNITS> class Weights {
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

template <class Work, int... U> COTNET_INLINE void each_of(const Work& work, std::integer_sequence<int, U...>) {
  (work(std::integral_constant<int, U>()), ...);
}

// COUNT packs of channels, `period` apart, that share their weights.
template <class T, int UNITS, int U, int COUNT>
COTNET_INLINE void sum_part(T* out, const T* const* x, int64_t x_at, const Weights<T, UNITS>& w, int64_t period) {
  Pack<T> sums[COUNT] = {};
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) {
    const Pack<T> weight = w.template of_unit<U>(t);
    const T* from = opaque(x[t] + x_at);
#pragma GCC unroll 8
    for (int q = 0; q < COUNT; ++q) multiply_add(sums[q], weight, load_pack(from + q * period));
  }
#pragma GCC unroll 8
  for (int q = 0; q < COUNT; ++q) store_pack(out + q * period, sums[q]);
}

// The channels of unit U that use the pack of maps: first, first + period, ... below end.
template <class T, int UNITS, int U>
COTNET_INLINE void sum_unit(T* out, const T* const* x, int64_t x_at, const Weights<T, UNITS>& w, int64_t first, int64_t end,
                            int64_t period) {
  // The channels of CoT come in eights.
  constexpr int width = kWidth<T>, count = 8 / UNITS;
  int64_t c = first;
  for (; c + (count - 1) * period + width <= end; c += count * period)
    sum_part<T, UNITS, U, count>(out + c, x, x_at + c, w, period);
  for (; c + width <= end; c += period) sum_part<T, UNITS, U, 1>(out + c, x, x_at + c, w, period);
  if (const int64_t left = end - c; left > 0) {
    Pack<T> sum = {};
    for (int t = 0; t < kTaps; ++t) multiply_add(sum, w.template of_unit<U>(t), load_some(x[t] + x_at + c, left));
    store_some(out + c, sum, left);
  }
}

// Rows first to last of all images' output rows.
template <class T, int UNITS>
int aggregate_straight(const Problem& p, const T* value, const T* weight, T* out, int64_t first, int64_t last) {
  constexpr int width = kWidth<T>;
  const int64_t *vs = p.value_strides, *os = p.out_strides, *ws = p.weight_strides;
  const int64_t maps = p.maps / p.blocks, channels = p.channels / p.blocks, period = UNITS == 1 ? maps : width;
  const int64_t units = p.out_w * p.blocks;

  Scratch scratch;
  ValueWindow<T> window(scratch, p);
  T* rest = scratch.take<T>(width * kTaps);
  if (scratch.failed) return kOutOfMemory;

  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.out_h, i = r % p.out_h;
    const T* weights = weight + n * ws[0] + i * ws[3];
    T* row = out + n * os[0] + i * os[2];
    window.start_row(value + n * vs[0], i);
    int64_t j = 0, block = 0;
    for (int64_t unit = 0; unit < units; unit += UNITS) {
      for (int64_t m = 0; m < (UNITS == 1 ? maps : 1); m += width, weights += width * kTaps) {
        const T* from = weights;
        if (UNITS > 1 && unit + UNITS > units) {
          memcpy(rest, weights, size_t((units - unit) * maps * kTaps) * sizeof(T));
          from = rest;
        }
        Weights<T, UNITS> w;
        w.read(from);
        prefetch_weights(weights);
        const auto go = [&](auto u) __attribute__((always_inline)) {
          if (unit + u.value >= units) return;
          window.move_to(j);
          const int64_t c = block * channels;
          sum_unit<T, UNITS, u.value>(row + j * os[3], window.x, window.at, w, c + m, c + channels, period);
          if (UNITS > 1 && ++block == p.blocks) block = 0, ++j;
        };
        each_of(go, std::make_integer_sequence<int, UNITS>());
      }
      if (UNITS == 1 && ++block == p.blocks) block = 0, ++j;
    }
  }
  return kDone;
}

}  // namespace
