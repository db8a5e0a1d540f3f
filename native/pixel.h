// Everything about one pixel, with vectors along channels.
#pragma once

#include "runs.h"

namespace {

template <class T> COTNET_INLINE void multiply_add(Pack<T>& sum, const Pack<T>& a, const Pack<T>& b) {
  sum.v[0] += a.v[0] * b.v[0];
  if constexpr (!kAccumulates<T>) sum.v[1] += a.v[1] * b.v[1];
}

// What a position combines, tap by tap: x[t] + x_at are channels, w[t] + w_at the weights of the same tap. Neighbouring
// positions away from the border differ in `x_at` and `w_at` only.
template <class T> struct Window {
  const T **x, **w;
  int64_t x_at, w_at;
  int64_t block;  // between the weights of two blocks
};

// COUNT packs of channels, `period` apart, that share their weights. TAPS is 0 where it is known at run time only.
template <class T, int REPEATS, int COUNT, int TAPS>
COTNET_INLINE void sum_packs(T* out, const Window<T>& window, int64_t taps, int64_t at, int64_t period,
                             int64_t weight_at) {
  const int64_t x_at = window.x_at + at, w_at = window.w_at + weight_at, last = TAPS ? TAPS : taps;
  Pack<T> sums[COUNT] = {};
#pragma GCC unroll 9
  for (int64_t t = 0; t < last; ++t) {
    const Pack<T> weight = load_repeated<T, REPEATS>(window.w[t] + w_at);
    const T* from = opaque(window.x[t] + x_at);
#pragma GCC unroll 8
    for (int q = 0; q < COUNT; ++q) multiply_add(sums[q], weight, load_pack(from + q * period));
  }
#pragma GCC unroll 8
  for (int q = 0; q < COUNT; ++q) store_pack(out + at + q * period, sums[q]);
}

// out[c] = sum over t of w[t][weight of c] * x[t][c].
template <class T, int REPEATS, int TAPS> void sum_taps(const Runs& runs, T* out, const Window<T>& window, int64_t taps) {
  // The channels of CoT come in eights.
  constexpr int width = kWidth<T>, count = REPEATS < 8 ? 8 / REPEATS : 2;
  const int64_t period = runs.period, step = runs.wraps ? width % runs.maps : width;
  // Where packs start anywhere, the last one may overlap the one before it instead of being a part.
  const bool overlaps = runs.wraps && runs.channels >= width;
  const int64_t last_map = overlaps ? (runs.channels - width) % runs.maps : 0;
  for (int64_t block = 0; block < runs.blocks; ++block) {
    const int64_t first = block * runs.channels, end = first + runs.channels;
    int64_t map = 0;
    for (int64_t m = 0; m < period && m < runs.channels; m += width) {
      const int64_t weight_at = block * window.block + map;
      int64_t c = first + m;
      for (; c + (count - 1) * period + width <= end; c += count * period)
        sum_packs<T, REPEATS, count, TAPS>(out, window, taps, c, period, weight_at);
      for (; c + width <= end; c += period) sum_packs<T, REPEATS, 1, TAPS>(out, window, taps, c, period, weight_at);
      if (const int64_t left = end - c; left > 0 && overlaps) {
        sum_packs<T, REPEATS, 1, TAPS>(out, window, taps, end - width, period, block * window.block + last_map);
      } else if (left > 0) {
        Pack<T> sum = {};
        for (int64_t t = 0; t < taps; ++t)
          multiply_add(sum, load_repeated<T, REPEATS>(window.w[t] + window.w_at + weight_at),
                       load_some(window.x[t] + window.x_at + c, left));
        store_some(out + c, sum, left);
      }
      map += step;
      if (runs.wraps && map >= runs.maps) map -= runs.maps;
    }
  }
}

template <class T> using SumTaps = void (*)(const Runs&, T*, const Window<T>&, int64_t);

template <class T, int REPEATS> SumTaps<T> sum_taps_of(int64_t taps) {
  return taps == 9 ? sum_taps<T, REPEATS, 9> : sum_taps<T, REPEATS, 0>;
}
template <class T> SumTaps<T> sum_taps_for(const Runs& runs, int64_t taps) {
  switch (runs.repeats) {
    case 1: return sum_taps_of<T, 1>(taps);
    case 2: return sum_taps_of<T, 2>(taps);
    case 4: return sum_taps_of<T, 4>(taps);
  }
  return sum_taps_of<T, kWidth<T>>(taps);
}

// A part of the sums over the channels of one pack, for TAPS taps at once.
template <class T, int TAPS>
COTNET_INLINE void products(const Runs& runs, Pack<T> (&sums)[TAPS], const T* grad, const T* const* x, int64_t x_at,
                            int64_t first, int64_t m) {
  int64_t c = m;
  for (; c + kWidth<T> <= runs.channels; c += runs.period) {
    const Pack<T> held = load_pack(grad + first + c);
#pragma GCC unroll 16
    for (int t = 0; t < TAPS; ++t) multiply_add(sums[t], held, load_pack(x[t] + x_at + first + c));
  }
  if (const int64_t left = runs.channels - c; left > 0) {
    const Pack<T> held = load_some(grad + first + c, left);
#pragma GCC unroll 16
    for (int t = 0; t < TAPS; ++t) multiply_add(sums[t], held, load_some(x[t] + x_at + first + c, left));
  }
}

// out[t * pitch + g] = sum of grad[c] * x[t][x_at + c] over the channels c of map g. Up to a pack of elements may be written
// beyond the last map; `lanes` is `lanes_needed` elements of scratch.
template <class T, int TAPS>
void sum_channels(const Runs& runs, T* out, int64_t pitch, const T* grad, const T* const* x, int64_t x_at,
                  Accumulator<T>* lanes, int64_t lanes_pitch) {
  using A = Accumulator<T>;
  constexpr int width = kWidth<T>;
  const bool folds = runs.repeats > 1 || runs.wraps;
  for (int64_t block = 0; block < runs.blocks; ++block) {
    const int64_t first = block * runs.channels;
    T* target = out + block * runs.maps;
    int64_t filled = 0;
    for (int64_t m = 0; m < runs.period && m < runs.channels; m += width) {
      Pack<T> sums[TAPS] = {};
      products(runs, sums, grad, x, x_at, first, m);
#pragma GCC unroll 16
      for (int t = 0; t < TAPS; ++t) {
        if (folds) store_lanes(lanes + t * lanes_pitch + m, sums[t]);
        else store_pack(target + t * pitch + m, sums[t]);
      }
      filled = m + width;
    }
    if (!folds) continue;
    for (int t = 0; t < TAPS; ++t)
      for (int64_t g = 0; g < runs.maps; g += kLanes<A>) {
        Vector<A> sum = {};
        for (int64_t m = g; m < filled; m += runs.maps) sum += load(lanes + t * lanes_pitch + m);
        store(target + t * pitch + g, sum);
      }
  }
}

// Accumulators for one tap: those of a period, and zeros to read behind them.
template <class T> int64_t lanes_needed(const Runs& runs) { return runs.period + runs.maps + 2 * kWidth<T>; }

}  // namespace
