// cotnet::local_aggregation_grad_value: every input position gathers from the output positions whose windows hold it.
#include "columns.h"
#include "in_place.h"
#include "isa.h"
#include "parallel.h"
#include "pixel.h"
#include "weight_rows.h"
#include "window.h"

namespace {

// Vectors along channels; rows first to last of all images' input rows.
template <class T>
int along_channels(const Problem& p, const T* grad_out, const T* weight, T* grad_value, int64_t first, int64_t last) {
  const Runs runs = Runs::of<T>(p);
  const int64_t k = p.kernel_size, taps = k * k, pad = p.dilation * (k / 2);
  const SumTaps<T> sum = sum_taps_for<T>(runs, taps);
  const int64_t *os = p.out_strides, *vs = p.value_strides;
  // Output rows that one input row meets.
  const int64_t reach = 2 * pad / p.stride + 1, slots = reach < p.out_h ? reach : p.out_h;
  const Interior rows(pad, 1, p.height, p.height), columns(pad, 1, p.width, p.width);

  Scratch scratch;
  WeightRows<T> weights;
  weights.prepare(scratch, p, runs, weight, slots, p.out_w);
  WeightRow<T>* ring = scratch.take<WeightRow<T>>(slots);
  Window<T> window{scratch.take<const T*>(taps), scratch.take<const T*>(taps), 0, 0, 0};
  const T* zeros = new_zeros<T>(scratch, p);
  if (scratch.failed) return kOutOfMemory;

  int64_t ready = -1;  // rows of all images' output rows that the ring holds, or held
  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.height, h = r % p.height;
    const T* image = grad_out + n * os[0];
    T* target = grad_value + n * vs[0] + h * vs[2];
    const int64_t reached = (h + pad) / p.stride < p.out_h - 1 ? (h + pad) / p.stride : p.out_h - 1;
    int64_t lowest = h > pad ? (h - pad + p.stride - 1) / p.stride : 0;
    if (ready >= n * p.out_h + lowest) lowest = ready + 1 - n * p.out_h;
    for (int64_t i = lowest; i <= reached; ++i) ring[i % slots] = weights.row(i % slots, n, i, 0, p.out_w);
    if (ready < n * p.out_h + reached) ready = n * p.out_h + reached;

    const WeightRow<T>& any = ring[reached % slots];
    window.block = any.block;
    for (int64_t column = 0; column < p.width; ++column) {
      if (p.stride == 1 && rows.holds(h) && columns.holds(column) && columns.holds(column - 1)) {
        window.x_at += os[3], window.w_at += any.pixel;
      } else {
        window.x_at = window.w_at = 0;
        for (int64_t u = 0, t = 0; u < k; ++u) {
          const int64_t down = h + pad - u * p.dilation, i = down / p.stride;
          const bool meets = down >= 0 && down % p.stride == 0 && i < p.out_h;
          const WeightRow<T>* row = meets ? &ring[i % slots] : nullptr;
          for (int64_t v = 0; v < k; ++v, ++t) {
            const int64_t across = column + pad - v * p.dilation, j = across / p.stride;
            const bool both = meets && across >= 0 && across % p.stride == 0 && j < p.out_w;
            window.x[t] = both ? image + i * os[2] + j * os[3] : zeros;
            window.w[t] = both ? row->at + t * row->tap + j * row->pixel : zeros;
          }
        }
      }
      sum(runs, target + column * vs[3], window, taps);
    }
  }
  return kDone;
}

template <class T> int typed(const Problem& p, const void* first, const void* second, void* output) {
  const T *grad_out = static_cast<const T*>(first), *weight = static_cast<const T*>(second);
  T* grad_value = static_cast<T*>(output);
  if (p.value_strides[1] == 1 && p.out_strides[1] == 1)
    return over_tasks(p, p.batch * p.height, [&](int64_t begin, int64_t end) {
      return along_channels(p, grad_out, weight, grad_value, begin, end);
    });
  if constexpr (kMaskedLoads)
    if (dense_images(p)) return sum_in_place<T, false>(p, grad_out, weight, grad_value);
  const Bands bands(p, p.height, p.width, 448);
  return over_tasks(p, bands.count(), [&](int64_t begin, int64_t end) {
    return sum_along_columns(p, bands, kBackward, grad_out, weight, grad_value, begin, end);
  });
}

}  // namespace

COTNET_KERNEL(grad_value)
