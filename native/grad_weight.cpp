// cotnet::local_aggregation_grad_weight: for each tap, the product of gradient and value summed over a map's channels.
#include "isa.h"
#include "parallel.h"
#include "rows.h"

namespace {

template <int TAPS, class T>
int run(const Problem& p, const T* grad_out, const T* value, T* grad_weight, int64_t first, int64_t last) {
  using A = Accumulator<T>;
  const Channels c = Channels::of<A>(p);
  const int64_t k = p.kernel_size, taps = TAPS ? TAPS : k * k, pad = p.dilation * (k / 2);
  const int64_t* ws = p.weight_strides;

  Scratch scratch;
  Rows<T> rows, grads;
  rows.prepare(scratch, value, p.value_strides, p.channels, p.height, p.width, p.dilation * (k - 1) + 1);
  grads.prepare(scratch, grad_out, p.out_strides, p.channels, p.out_h, p.out_w, 1);
  A* packed = scratch.take<A>(taps * c.row);
  A* spare = scratch.take<A>(taps * c.maps);
  A* zeros = scratch.take<A>(p.channels);
  const A** x = scratch.take<const A*>(taps);
  const A** window = scratch.take<const A*>(k);
  if (scratch.failed) return kOutOfMemory;
  memset(zeros, 0, size_t(p.channels) * sizeof(A));

  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.out_h, i = r % p.out_h;
    for (int64_t u = 0; u < k; ++u) {
      const int64_t h = i * p.stride - pad + u * p.dilation;
      window[u] = h >= 0 && h < p.height ? rows.row(n, h) : nullptr;
    }
    const A* grad = grads.row(n, i);
    T* target = grad_weight + n * ws[0] + i * ws[3];
    for (int64_t j = 0; j < p.out_w; ++j) {
      for (int64_t v = 0; v < k; ++v) {
        const int64_t column = j * p.stride - pad + v * p.dilation;
        const bool inside = column >= 0 && column < p.width;
        for (int64_t u = 0; u < k; ++u)
          x[u * k + v] = inside && window[u] ? window[u] + column * rows.pixel_stride : zeros;
      }
      sum_repeats<TAPS>(c, packed, grad + j * grads.pixel_stride, x, taps);
      unpack_weights(c, target + j * ws[4], spare, packed, taps, ws[1], ws[2]);
    }
  }
  return kDone;
}

template <class T> int typed(const Problem& p, const void* grad_out, const void* value, void* grad_weight) {
  return over_rows(p, p.batch * p.out_h, [&](int64_t first, int64_t last) {
    const auto go = p.kernel_size == 3 ? run<9, T> : run<0, T>;
    return go(p, static_cast<const T*>(grad_out), static_cast<const T*>(value), static_cast<T*>(grad_weight), first,
              last);
  });
}

}  // namespace

COTNET_KERNEL(grad_weight)
