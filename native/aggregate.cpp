// cotnet::local_aggregation: y[n, c, i, j] = sum over t of w[n, m(c), t, i, j] * value[n, c, window t of (i, j)].
#include "columns.h"
#include "in_place.h"
#include "isa.h"
#include "parallel.h"
#include "pairs.h"
#include "pixel.h"
#include "weight_rows.h"
#include "window.h"

namespace {

// Vectors along channels; rows first to last of all images' output rows.
template <class T>
int along_channels(const Problem& p, const T* value, const T* weight, T* out, int64_t first, int64_t last) {
  const Runs runs = Runs::of<T>(p);
  const int64_t k = p.kernel_size, taps = k * k;
  const SumTaps<T> sum = sum_taps_for<T>(runs, taps);
  const int64_t *vs = p.value_strides, *os = p.out_strides;
  const int64_t together = pixels_together<T>(p, taps);

  Scratch scratch;
  WeightRows<T> weights;
  weights.prepare(scratch, p, runs, weight, 1, together);
  ValueWindow<T> reads(scratch, p);
  Window<T> window{reads.x, scratch.take<const T*>(taps), 0, 0, 0};
  if (scratch.failed) return kOutOfMemory;

  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.out_h, i = r % p.out_h;
    T* target = out + n * os[0] + i * os[2];
    reads.start_row(value + n * vs[0], i);
    for (int64_t begin = 0; begin < p.out_w; begin += together) {
      const int64_t end = begin + together < p.out_w ? begin + together : p.out_w;
      const WeightRow<T> row = weights.row(0, n, i, begin, end - begin);
      for (int64_t t = 0; t < taps; ++t) window.w[t] = row.at + t * row.tap;
      window.block = row.block;
      for (int64_t j = begin; j < end; ++j) {
        reads.move_to(j);
        window.x_at = reads.at, window.w_at = (j - begin) * row.pixel;
        sum(runs, target + j * os[3], window, taps);
      }
    }
  }
  return kDone;
}

template <class T> int typed(const Problem& p, const void* first, const void* second, void* output) {
  const T *value = static_cast<const T*>(first), *weight = static_cast<const T*>(second);
  T* out = static_cast<T*>(output);
  if (p.value_strides[1] == 1 && p.out_strides[1] == 1) {
    if (const auto straight = aggregate_straight_for<T>(p))
      return over_tasks(p, p.batch * p.out_h, [&](int64_t begin, int64_t end) {
        return straight(p, value, weight, out, begin, end);
      });
    return over_tasks(p, p.batch * p.out_h, [&](int64_t begin, int64_t end) {
      return along_channels(p, value, weight, out, begin, end);
    });
  }
  if constexpr (kMaskedLoads)
    if (dense_images(p)) return sum_in_place<T, true>(p, value, weight, out);
  const Bands bands(p, p.out_h, p.out_w, 448);
  return over_tasks(p, bands.count(), [&](int64_t begin, int64_t end) {
    return sum_along_columns(p, bands, kForward, value, weight, out, begin, end);
  });
}

}  // namespace

COTNET_KERNEL(aggregate)
