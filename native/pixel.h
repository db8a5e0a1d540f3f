// The channel kernels: everything about one pixel, vectors along channels.
//
// Channels are c = (block * repeats + repeat) * period + q; a vector of weights serves the same q of every repeat. The
// period is the number of maps of a block where that fills a vector, and otherwise the maps repeated until it does.
#pragma once

#include "pack.h"
#include "problem.h"

namespace {

struct Channels {
  int64_t channels, maps, blocks, maps_per_block, period, repeats, row;  // row = blocks * period

  template <class A> static Channels of(const Problem& p) {
    Channels c;
    const int64_t lanes = kLanes<A>, block = p.channels / p.blocks;
    c.channels = p.channels, c.maps = p.maps, c.blocks = p.blocks, c.maps_per_block = p.maps / p.blocks;
    c.period = c.maps_per_block;
    if (c.period < lanes) c.period = lanes % c.period == 0 && block % lanes == 0 ? lanes : block;
    c.repeats = block / c.period;
    c.row = c.blocks * c.period;
    return c;
  }
};

// The weights of a pixel, strided [G][T], to [T][row]; `spare` holds T * G elements.
template <class T>
COTNET_INLINE void pack_weights(const Channels& c, Accumulator<T>* to, Accumulator<T>* spare, const T* from,
                                int64_t taps, int64_t map_stride, int64_t tap_stride) {
  const bool whole = c.period == c.maps_per_block;
  Accumulator<T>* packed = whole ? to : spare;
  gather_transposed(packed, from, c.maps, taps, map_stride, tap_stride);
  if (whole) return;
  if (sizeof(Accumulator<T>) == 4 && c.maps_per_block == 8 && c.maps == 8 && c.row == 16) {
    for (int64_t t = 0; t < taps; ++t)
      for (int half = 0; half < 16; half += 8) memcpy(to + t * 16 + half, spare + t * 8, 8 * sizeof(*to));
    return;
  }
  const int64_t m = c.maps_per_block;
  if (m == 1) {
    for (int64_t i = 0; i < taps * c.blocks; ++i)
      for (int64_t q = 0; q < c.period; ++q) to[i * c.period + q] = spare[i];
    return;
  }
  for (int64_t i = 0; i < taps * c.blocks; ++i)
    for (int64_t q = 0; q < c.period; q += m)
      for (int64_t g = 0; g < m; ++g) to[i * c.period + q + g] = spare[i * m + g];
}

// Gradients of the weights of a pixel, [T][row], to strided [G][T].
template <class T>
COTNET_INLINE void unpack_weights(const Channels& c, T* to, Accumulator<T>* spare, const Accumulator<T>* from,
                                  int64_t taps, int64_t map_stride, int64_t tap_stride) {
  const Accumulator<T>* folded = from;
  const int64_t m = c.maps_per_block;
  if (c.period != m) {
    folded = spare;
    if constexpr (sizeof(Accumulator<T>) == 4) {
      if (m == 8 && c.maps == 8 && c.row == 16) {
        for (int64_t t = 0; t < taps; ++t)
          store_eight(spare + t * 8, load_eight(from + t * 16) + load_eight(from + t * 16 + 8));
        scatter_transposed(to, folded, 8, taps, map_stride, tap_stride);
        return;
      }
    }
    for (int64_t i = 0; i < taps * c.blocks; ++i)
      for (int64_t g = 0; g < m; ++g) {
        Accumulator<T> sum = 0;
        for (int64_t q = g; q < c.period; q += m) sum += from[i * c.period + q];
        spare[i * m + g] = sum;
      }
  }
  scatter_transposed(to, folded, c.maps, taps, map_stride, tap_stride);
}

// out[c] = sum over t of w[t][weight of c] * x[t][c]. TAPS is 0 where the number is known at run time only.
template <int TAPS, class T, class A = Accumulator<T>>
COTNET_INLINE void sum_taps(const Channels& c, T* out, const A* const* x, const A* const* w, int64_t taps) {
  constexpr int64_t lanes = kLanes<A>;
  const A* near[TAPS + 1];  // a copy that no store can alias stays in registers
  for (int t = 0; t < TAPS; ++t) near[t] = x[t];
  for (int64_t block = 0; block < c.blocks; ++block) {
    const int64_t first = block * c.repeats * c.period, weights = block * c.period;
    int64_t q = 0;
    for (; q + lanes <= c.period; q += lanes) {
      if constexpr (TAPS > 0) {
        Vector<A> held[TAPS];
        for (int t = 0; t < TAPS; ++t) held[t] = load(w[t] + weights + q);
        for (int64_t repeat = 0; repeat < c.repeats; ++repeat) {
          const int64_t at = first + repeat * c.period + q;
          Vector<A> sum = held[0] * load(near[0] + at);
          for (int t = 1; t < TAPS; ++t) sum += held[t] * load(near[t] + at);
          store(out + at, sum);
        }
      } else {
        for (int64_t repeat = 0; repeat < c.repeats; ++repeat) {
          const int64_t at = first + repeat * c.period + q;
          Vector<A> sum = {};
          for (int64_t t = 0; t < taps; ++t) sum += load(w[t] + weights + q) * load(x[t] + at);
          store(out + at, sum);
        }
      }
    }
    for (; q < c.period; ++q)
      for (int64_t repeat = 0; repeat < c.repeats; ++repeat) {
        const int64_t at = first + repeat * c.period + q;
        A sum = 0;
        for (int64_t t = 0; t < taps; ++t) sum += w[t][weights + q] * x[t][at];
        out[at] = narrow<T>(sum);
      }
  }
}

// out[t][weight of c] = sum over the repeats of grad[c] * x[t][c].
template <int TAPS, class A>
COTNET_INLINE void sum_repeats(const Channels& c, A* out, const A* grad, const A* const* x, int64_t taps) {
  constexpr int64_t lanes = kLanes<A>;
  const A* near[TAPS + 1];
  for (int t = 0; t < TAPS; ++t) near[t] = x[t];
  for (int64_t block = 0; block < c.blocks; ++block) {
    const int64_t first = block * c.repeats * c.period, weights = block * c.period;
    int64_t q = 0;
    for (; q + lanes <= c.period; q += lanes) {
      if constexpr (TAPS > 0) {
        Vector<A> sums[TAPS] = {};
        for (int64_t repeat = 0; repeat < c.repeats; ++repeat) {
          const int64_t at = first + repeat * c.period + q;
          const Vector<A> held = load(grad + at);
          for (int t = 0; t < TAPS; ++t) sums[t] += held * load(near[t] + at);
        }
        for (int t = 0; t < TAPS; ++t) store(out + t * c.row + weights + q, sums[t]);
      } else {
        for (int64_t t = 0; t < taps; ++t) {
          Vector<A> sum = {};
          for (int64_t repeat = 0; repeat < c.repeats; ++repeat) {
            const int64_t at = first + repeat * c.period + q;
            sum += load(grad + at) * load(x[t] + at);
          }
          store(out + t * c.row + weights + q, sum);
        }
      }
    }
    for (; q < c.period; ++q)
      for (int64_t t = 0; t < taps; ++t) {
        A sum = 0;
        for (int64_t repeat = 0; repeat < c.repeats; ++repeat) {
          const int64_t at = first + repeat * c.period + q;
          sum += grad[at] * x[t][at];
        }
        out[t * c.row + weights + q] = sum;
      }
  }
}

}  // namespace
