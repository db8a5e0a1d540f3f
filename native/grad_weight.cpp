// cotnet::local_aggregation_grad_weight: for each tap, the product of gradient and value summed over a map's channels.
#include "columns.h"
#include "in_place.h"
#include "isa.h"
#include "parallel.h"
#include "pixel.h"
#include "weight_rows.h"
#include "window.h"

namespace {

// Vectors along channels; rows first to last of all images' output rows.
template <class T>
int along_channels(const Problem& p, const T* grad_out, const T* value, T* grad_weight, int64_t first, int64_t last) {
  const Runs runs = Runs::of<T>(p);
  const int64_t k = p.kernel_size, taps = k * k;
  const int64_t *vs = p.value_strides, *os = p.out_strides, *ws = p.weight_strides;
  const int64_t together = pixels_together<T>(p, taps), pitch = together * p.maps + kWidth<T>;
  const int64_t lanes_pitch = lanes_needed<T>(runs);
  const bool dense = ws[2] == 1 && (p.maps == 1 || ws[1] == taps) && (p.out_w == 1 || ws[4] == p.maps * taps);

  Scratch scratch;
  T* tapwise = scratch.take<T>(taps * pitch);
  auto* lanes = scratch.take<Accumulator<T>>(9 * lanes_pitch);
  ValueWindow<T> window(scratch, p);
  if (scratch.failed) return kOutOfMemory;

  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.out_h, i = r % p.out_h;
    const T* grads = grad_out + n * os[0] + i * os[2];
    window.start_row(value + n * vs[0], i);
    for (int64_t begin = 0; begin < p.out_w; begin += together) {
      const int64_t end = begin + together < p.out_w ? begin + together : p.out_w;
      for (int64_t j = begin; j < end; ++j) {
        window.move_to(j);
        const T* grad = grads + j * os[3];
        T* to = tapwise + (j - begin) * p.maps;
        int64_t t = 0;
        for (; t + 9 <= taps; t += 9)
          sum_channels<T, 9>(runs, to + t * pitch, pitch, grad, window.x + t, window.at, lanes, lanes_pitch);
        for (; t + 3 <= taps; t += 3)
          sum_channels<T, 3>(runs, to + t * pitch, pitch, grad, window.x + t, window.at, lanes, lanes_pitch);
        for (; t < taps; ++t)
          sum_channels<T, 1>(runs, to + t * pitch, pitch, grad, window.x + t, window.at, lanes, lanes_pitch);
      }
      T* target = grad_weight + n * ws[0] + i * ws[3] + begin * ws[4];
      const int64_t pixels = end - begin;
      if (dense && taps_together(target, tapwise, pitch, pixels * p.maps, taps)) continue;
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t g = 0; g < p.maps; ++g)
          for (int64_t j = 0; j < pixels; ++j)
            target[g * ws[1] + t * ws[2] + j * ws[4]] = tapwise[t * pitch + j * p.maps + g];
    }
  }
  return kDone;
}

template <class T> int typed(const Problem& p, const void* first, const void* second, void* output) {
  const T *grad_out = static_cast<const T*>(first), *value = static_cast<const T*>(second);
  T* grad_weight = static_cast<T*>(output);
  if (p.value_strides[1] == 1 && p.out_strides[1] == 1)
    return over_tasks(p, p.batch * p.out_h, [&](int64_t begin, int64_t end) {
      return along_channels(p, grad_out, value, grad_weight, begin, end);
    });
  if constexpr (kMaskedLoads)
    if (dense_images(p)) return grad_weight_in_place(p, grad_out, value, grad_weight);
  const Bands bands(p, p.out_h, p.out_w, 224);
  return over_tasks(p, bands.count(), [&](int64_t begin, int64_t end) {
    return grad_weight_along_columns(p, bands, grad_out, value, grad_weight, begin, end);
  });
}

}  // namespace

COTNET_KERNEL(grad_weight)
