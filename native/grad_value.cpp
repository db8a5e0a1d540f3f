// cotnet::local_aggregation_grad_value: every input position gathers from the output positions whose windows hold it.
#include "isa.h"
#include "parallel.h"
#include "rows.h"

namespace {

// Packed weights of the output rows in reach of the current input row.
template <class T> class WeightRows {
  using A = Accumulator<T>;

 public:
  void prepare(Scratch& scratch, const Problem& p, const Channels& c, const T* weight, int64_t window) {
    p_ = &p, c_ = &c, weight_ = weight, taps_ = p.kernel_size * p.kernel_size;
    window_ = window < p.out_h ? window : p.out_h;
    ring_ = scratch.take<A>(window_ * p.out_w * taps_ * c.row);
    spare_ = scratch.take<A>(taps_ * c.maps);
    held_ = scratch.take<int64_t>(2 * window_);
    if (scratch.failed) return;
    for (int64_t i = 0; i < 2 * window_; ++i) held_[i] = -1;
  }
  template <int TAPS> const A* row(int64_t n, int64_t i) {
    const int64_t slot = i % window_, taps = TAPS ? TAPS : taps_, *ws = p_->weight_strides;
    A* target = ring_ + slot * p_->out_w * taps * c_->row;
    if (held_[2 * slot] != n || held_[2 * slot + 1] != i) {
      const T* source = weight_ + n * ws[0] + i * ws[3];
      for (int64_t j = 0; j < p_->out_w; ++j)
        pack_weights(*c_, target + j * taps * c_->row, spare_, source + j * ws[4], taps, ws[1], ws[2]);
      held_[2 * slot] = n, held_[2 * slot + 1] = i;
    }
    return target;
  }

 private:
  const Problem* p_;
  const Channels* c_;
  const T* weight_;
  int64_t taps_, window_;
  A *ring_, *spare_;
  int64_t* held_;
};

template <int TAPS, class T>
int run(const Problem& p, const T* grad_out, const T* weight, T* grad_value, int64_t first, int64_t last) {
  using A = Accumulator<T>;
  const Channels c = Channels::of<A>(p);
  const int64_t k = p.kernel_size, taps = TAPS ? TAPS : k * k, pad = p.dilation * (k / 2);
  const int64_t reach = p.dilation * (k - 1) / p.stride + 2;

  Scratch scratch;
  Rows<T> rows;
  rows.prepare(scratch, grad_out, p.out_strides, p.channels, p.out_h, p.out_w, reach);
  WeightRows<T> weight_rows;
  weight_rows.prepare(scratch, p, c, weight, reach);
  OutputRow<T> output;
  output.prepare(scratch, grad_value, p.value_strides, p.channels, p.width);
  A* zeros = scratch.take<A>(p.channels);
  const A** x = scratch.take<const A*>(taps);
  const A** w = scratch.take<const A*>(taps);
  const A** grad_window = scratch.take<const A*>(k);
  const A** weight_window = scratch.take<const A*>(k);
  if (scratch.failed) return kOutOfMemory;
  memset(zeros, 0, size_t(p.channels) * sizeof(A));

  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.height, h = r % p.height;
    for (int64_t u = 0; u < k; ++u) {
      const int64_t scaled = h + pad - u * p.dilation, i = scaled / p.stride;
      const bool meets = scaled >= 0 && scaled % p.stride == 0 && i < p.out_h;
      grad_window[u] = meets ? rows.row(n, i) : nullptr;
      weight_window[u] = meets ? weight_rows.template row<TAPS>(n, i) : nullptr;
    }
    output.begin(n, h);
    for (int64_t column = 0; column < p.width; ++column) {
      int64_t met = 0;
      for (int64_t v = 0; v < k; ++v) {
        const int64_t scaled = column + pad - v * p.dilation, j = p.stride == 1 ? scaled : scaled / p.stride;
        const bool meets = scaled >= 0 && j * p.stride == scaled && j < p.out_w;
        if (!TAPS && !meets) continue;
        for (int64_t u = 0; u < k; ++u) {
          const bool both = meets && grad_window[u];
          if (!TAPS && !both) continue;
          const int64_t slot = TAPS ? u * k + v : met++;
          x[slot] = both ? grad_window[u] + j * rows.pixel_stride : zeros;
          w[slot] = both ? weight_window[u] + (j * taps + u * k + v) * c.row : zeros;
        }
      }
      output.template pixel<TAPS>(c, column, x, w, TAPS ? TAPS : met);
    }
    output.end();
  }
  return kDone;
}

template <class T> int typed(const Problem& p, const void* grad_out, const void* weight, void* grad_value) {
  return over_rows(p, p.batch * p.height, [&](int64_t first, int64_t last) {
    const auto go = p.kernel_size == 3 && p.stride == 1 ? run<9, T> : run<0, T>;
    return go(p, static_cast<const T*>(grad_out), static_cast<const T*>(weight), static_cast<T*>(grad_value), first,
              last);
  });
}

}  // namespace

COTNET_KERNEL(grad_value)
