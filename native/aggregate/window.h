// What the taps of an output position read, and the loop over rows of outputs that moves the window.
#pragma once

#include "../runtime/arena.h"
#include "layout.h"

namespace {

// Positions whose whole window lies inside, along one axis: from `first` until `end`.
struct Interior {
  int64_t first, end;

  Interior(int64_t pad, int64_t stride, int64_t size, int64_t positions) {
    first = (pad + stride - 1) / stride;
    end = size > pad ? (size - 1 - pad) / stride + 1 : 0;
    if (end > positions) end = positions;
  }
  bool holds(int64_t i) const { return i >= first && i < end; }
};

// As long as a row of channels: what a tap reads where it is outside the image.
template <class T> const T* new_zeros(Scratch& scratch, const AggregateProblem& p) {
  return scratch.take<T>(p.channels + p.groups * kWidth<T>);
}

// The window of one output position after the other along a row, `columns` wide: wider than the kernel where several
// neighbors share it. Cell t = row * columns + column reads the channels at x[t] + offset, which are zeros outside the
// image; positions away from the border differ in `offset` only.
template <class T> class InputWindow {
 public:
  const T** x;
  int64_t offset = 0;

  InputWindow(Scratch& scratch, const AggregateProblem& p) : InputWindow(scratch, p, p.kernel_size) {}
  InputWindow(Scratch& scratch, const AggregateProblem& p, int64_t columns)
      : x(scratch.take<const T*>(p.kernel_size * columns)),
        p_(p),
        columns_(columns),
        pad_(p.dilation * (p.kernel_size / 2)),
        pixel_stride_(p.stride * p.value_strides[3]),
        inner_rows_(pad_, p.stride, p.height, p.out_h),
        inner_columns_(pad_, p.stride, p.width - (columns - p.kernel_size), p.out_w),
        zeros_(new_zeros<T>(scratch, p)) {}

  void start_row(const T* image, int64_t i) {
    image_ = image;
    top_ = i * p_.stride - pad_;
    row_inside_ = inner_rows_.holds(i);
    inside_ = false;
    column_ = -1;
  }
  COTNET_INLINE void move_to(int64_t j) {
    if (j == column_) return;
    const bool inside = row_inside_ && inner_columns_.holds(j);
    if (inside && inside_) offset += pixel_stride_ * (j - column_);
    else place(j);
    column_ = j;
    inside_ = inside;
  }

 private:
  __attribute__((noinline)) void place(int64_t j) {
    const int64_t left = j * p_.stride - pad_;
    offset = 0;
    for (int64_t u = 0, t = 0; u < p_.kernel_size; ++u) {
      const int64_t h = top_ + u * p_.dilation;
      const T* row = image_ + h * p_.value_strides[2];
      for (int64_t v = 0; v < columns_; ++v, ++t) {
        const int64_t w = left + v * p_.dilation;
        x[t] = h >= 0 && h < p_.height && w >= 0 && w < p_.width ? row + w * p_.value_strides[3] : zeros_;
      }
    }
  }

  const AggregateProblem& p_;
  int64_t columns_, pad_, pixel_stride_;
  Interior inner_rows_, inner_columns_;
  const T *zeros_, *image_ = nullptr;
  int64_t top_ = 0, column_ = -1;
  bool row_inside_ = false, inside_ = false;  // the row, the whole window
};

// Rows first to last of all images' output rows: body(weight, out) with the row's first weight and output, the window
// at the row's beginning.
template <class T, class Weight, class Out, class Body>
COTNET_INLINE void for_each_row(const AggregateProblem& p, InputWindow<T>& window, const T* value, Weight* weight,
                                Out* out, int64_t first, int64_t last, const Body& body) {
  const int64_t *vs = p.value_strides, *os = p.out_strides, *ws = p.weight_strides;
  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.out_h, i = r % p.out_h;
    window.start_row(value + n * vs[0], i);
    body(weight + n * ws[0] + i * ws[3], out + n * os[0] + i * os[2]);
  }
}

}  // namespace
