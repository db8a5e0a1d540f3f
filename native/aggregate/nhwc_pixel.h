// Everything about one pixel, with vectors along channels, for any number of heads and taps.
#pragma once

#include "layout.h"

namespace {

template <class T> COTNET_INLINE void multiply_add(Pack<T>& sum, const Pack<T>& a, const Pack<T>& b) {
  sum.v[0] += a.v[0] * b.v[0];
  if constexpr (!kAccumulates<T>) sum.v[1] += a.v[1] * b.v[1];
}

// What a position combines, tap by tap: the channels at x[t] + x_offset with the weights at w[t] + w_offset.
// Neighboring positions away from the border differ in the offsets only.
template <class T> struct TapOperands {
  const T **x, **w;
  int64_t x_offset, w_offset;
  int64_t group_stride;  // between the weights of two groups
};

// COUNT packs of channels, `period` apart, that share their weights. TAPS is 0 where it is known at run time only.
template <class T, int REPEATS, int COUNT, int TAPS>
COTNET_INLINE void aggregate_packs(T* out, const TapOperands<T>& in, int64_t taps, int64_t channel, int64_t period,
                                   int64_t head) {
  const int64_t x_offset = in.x_offset + channel, w_offset = in.w_offset + head, last = TAPS ? TAPS : taps;
  Pack<T> sums[COUNT] = {};
#pragma GCC unroll 9
  for (int64_t t = 0; t < last; ++t) {
    const Pack<T> weight = load_repeated<T, REPEATS>(in.w[t] + w_offset);
    const T* from = opaque(in.x[t] + x_offset);
#pragma GCC unroll 8
    for (int q = 0; q < COUNT; ++q) multiply_add(sums[q], weight, load_pack(from + q * period));
  }
#pragma GCC unroll 8
  for (int q = 0; q < COUNT; ++q) store_pack(out + channel + q * period, sums[q]);
}

// out[c] = sum over t of w[t][head of c] * x[t][c].
template <class T, int REPEATS, int TAPS>
void aggregate_pixel(const HeadPattern& pattern, T* out, const TapOperands<T>& in, int64_t taps) {
  // The channels of CoT come in eights.
  constexpr int width = kWidth<T>, count = REPEATS < 8 ? 8 / REPEATS : 2;
  const int64_t period = pattern.period, heads_per_pack = pattern.wraps ? width % pattern.heads : width;
  // Where packs start anywhere, the last one may overlap the one before it instead of being a part.
  const bool overlaps = pattern.wraps && pattern.channels >= width;
  const int64_t last_head = overlaps ? (pattern.channels - width) % pattern.heads : 0;
  for (int64_t group = 0; group < pattern.groups; ++group) {
    const int64_t first = group * pattern.channels, end = first + pattern.channels;
    int64_t head = 0;
    for (int64_t m = 0; m < period && m < pattern.channels; m += width) {
      const int64_t w_at = group * in.group_stride + head;
      int64_t c = first + m;
      for (; c + (count - 1) * period + width <= end; c += count * period)
        aggregate_packs<T, REPEATS, count, TAPS>(out, in, taps, c, period, w_at);
      for (; c + width <= end; c += period) aggregate_packs<T, REPEATS, 1, TAPS>(out, in, taps, c, period, w_at);
      if (const int64_t left = end - c; left > 0 && overlaps) {
        aggregate_packs<T, REPEATS, 1, TAPS>(out, in, taps, end - width, period, group * in.group_stride + last_head);
      } else if (left > 0) {
        Pack<T> sum = {};
        for (int64_t t = 0; t < taps; ++t)
          multiply_add(sum, load_repeated<T, REPEATS>(in.w[t] + in.w_offset + w_at),
                       load_some(in.x[t] + in.x_offset + c, left));
        store_some(out + c, sum, left);
      }
      head += heads_per_pack;
      if (pattern.wraps && head >= pattern.heads) head -= pattern.heads;
    }
  }
}

template <class T> using AggregatePixel = void (*)(const HeadPattern&, T*, const TapOperands<T>&, int64_t);

template <class T, int REPEATS> AggregatePixel<T> aggregate_pixel_of(int64_t taps) {
  return taps == 9 ? aggregate_pixel<T, REPEATS, 9> : aggregate_pixel<T, REPEATS, 0>;
}
template <class T> AggregatePixel<T> aggregate_pixel_for(const HeadPattern& pattern, int64_t taps) {
  switch (pattern.repeats) {
    case 1: return aggregate_pixel_of<T, 1>(taps);
    case 2: return aggregate_pixel_of<T, 2>(taps);
    case 4: return aggregate_pixel_of<T, 4>(taps);
  }
  return aggregate_pixel_of<T, kWidth<T>>(taps);
}

// A part of the sums over the channels of one pack, for TAPS taps at once.
template <class T, int TAPS> COTNET_INLINE void add_products(const HeadPattern& pattern, Pack<T> (&sums)[TAPS],
                                                             const T* grad, const T* const* x, int64_t x_offset,
                                                             int64_t first, int64_t m) {
  int64_t c = m;
  for (; c + kWidth<T> <= pattern.channels; c += pattern.period) {
    const Pack<T> held = load_pack(grad + first + c);
#pragma GCC unroll 16
    for (int t = 0; t < TAPS; ++t) multiply_add(sums[t], held, load_pack(x[t] + x_offset + first + c));
  }
  if (const int64_t left = pattern.channels - c; left > 0) {
    const Pack<T> held = load_some(grad + first + c, left);
#pragma GCC unroll 16
    for (int t = 0; t < TAPS; ++t) multiply_add(sums[t], held, load_some(x[t] + x_offset + first + c, left));
  }
}

// out[t * pitch + h] = sum of grad[c] * x[t][x_offset + c] over the channels c of head h. Up to a pack of elements may
// be written beyond the last head; `lanes` is scratch of TAPS rows, `lanes_needed` elements each.
template <class T, int TAPS> void grad_weight_pixel(const HeadPattern& pattern, T* out, int64_t pitch, const T* grad,
                                                    const T* const* x, int64_t x_offset, Accumulator<T>* lanes,
                                                    int64_t lanes_pitch) {
  using A = Accumulator<T>;
  constexpr int width = kWidth<T>;
  const bool folds = pattern.repeats > 1 || pattern.wraps;
  for (int64_t group = 0; group < pattern.groups; ++group) {
    const int64_t first = group * pattern.channels;
    T* target = out + group * pattern.heads;
    int64_t filled = 0;
    for (int64_t m = 0; m < pattern.period && m < pattern.channels; m += width) {
      Pack<T> sums[TAPS] = {};
      add_products(pattern, sums, grad, x, x_offset, first, m);
#pragma GCC unroll 16
      for (int t = 0; t < TAPS; ++t) {
        if (folds) store_lanes(lanes + t * lanes_pitch + m, sums[t]);
        else store_pack(target + t * pitch + m, sums[t]);
      }
      filled = m + width;
    }
    if (!folds) continue;
    for (int t = 0; t < TAPS; ++t)
      for (int64_t h = 0; h < pattern.heads; h += kLanes<A>) {
        Vector<A> sum = {};
        for (int64_t m = h; m < filled; m += pattern.heads) sum += load(lanes + t * lanes_pitch + m);
        store(target + t * pitch + h, sum);
      }
  }
}

// Accumulators for one tap: those of a period, and zeros to read behind them.
template <class T> int64_t lanes_needed(const HeadPattern& pattern) {
  return pattern.period + pattern.heads + 2 * kWidth<T>;
}

}  // namespace
