// cotnet::local_aggregation: y[n, c, i, j] = sum over t of w[n, m(c), t, i, j] * value[n, c, window t of (i, j)].
#include "isa.h"
#include "parallel.h"
#include "rows.h"

namespace {

constexpr int64_t kAhead = 4;

template <int TAPS, class T>
int run(const Problem& p, const T* value, const T* weight, T* out, int64_t first, int64_t last) {
  using A = Accumulator<T>;
  const Channels c = Channels::of<A>(p);
  const int64_t k = p.kernel_size, taps = TAPS ? TAPS : k * k, pad = p.dilation * (k / 2);
  const int64_t* ws = p.weight_strides;

  Scratch scratch;
  Rows<T> rows;
  rows.prepare(scratch, value, p.value_strides, p.channels, p.height, p.width, p.dilation * (k - 1) + 1);
  OutputRow<T> output;
  output.prepare(scratch, out, p.out_strides, p.channels, p.out_w);
  // Some pixels' weights are packed ahead: a wide load of what narrow stores have just written would wait for them.
  const int64_t ahead = p.out_w < kAhead ? p.out_w : kAhead;
  A* packed = scratch.take<A>(ahead * taps * c.row);
  A* spare = scratch.take<A>(taps * c.maps);
  A* zeros = scratch.take<A>(p.channels);
  const A** x = scratch.take<const A*>(taps);
  const A** w = scratch.take<const A*>(taps);
  const A** window = scratch.take<const A*>(k);
  if (scratch.failed) return kOutOfMemory;
  memset(zeros, 0, size_t(p.channels) * sizeof(A));

  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.out_h, i = r % p.out_h;
    for (int64_t u = 0; u < k; ++u) {
      const int64_t h = i * p.stride - pad + u * p.dilation;
      window[u] = h >= 0 && h < p.height ? rows.row(n, h) : nullptr;
    }
    output.begin(n, i);
    const T* weights = weight + n * ws[0] + i * ws[3];
    for (int64_t j = 0; j < p.out_w; ++j) {
      // Outside the picture a tap reads zeros, as the padded formulation does.
      for (int64_t v = 0; v < k; ++v) {
        const int64_t column = j * p.stride - pad + v * p.dilation;
        const bool inside = column >= 0 && column < p.width;
        for (int64_t u = 0; u < k; ++u)
          x[u * k + v] = inside && window[u] ? window[u] + column * rows.pixel_stride : zeros;
      }
      const int64_t slot = j % kAhead;
      if (slot == 0)
        for (int64_t a = 0; a < ahead && j + a < p.out_w; ++a)
          pack_weights(c, packed + a * taps * c.row, spare, weights + (j + a) * ws[4], taps, ws[1], ws[2]);
      for (int64_t t = 0; t < taps; ++t) w[t] = packed + (slot * taps + t) * c.row;
      output.template pixel<TAPS>(c, j, x, w, taps);
    }
    output.end();
  }
  return kDone;
}

template <class T> int typed(const Problem& p, const void* value, const void* weight, void* out) {
  return over_rows(p, p.batch * p.out_h, [&](int64_t first, int64_t last) {
    const auto go = p.kernel_size == 3 ? run<9, T> : run<0, T>;
    return go(p, static_cast<const T*>(value), static_cast<const T*>(weight), static_cast<T*>(out), first, last);
  });
}

}  // namespace

COTNET_KERNEL(aggregate)
