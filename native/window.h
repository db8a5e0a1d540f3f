// What the taps of an output position read: a channel row each, or zeros outside the image.
#pragma once

#include "pack.h"
#include "problem.h"
#include "scratch.h"

namespace {

// Positions whose whole window lies inside, along one axis: from `first` until `end`.
struct Interior {
  int64_t first, end;

  Interior(int64_t pad, int64_t step, int64_t size, int64_t positions) {
    first = (pad + step - 1) / step;
    end = size > pad ? (size - 1 - pad) / step + 1 : 0;
    if (end > positions) end = positions;
  }
  bool holds(int64_t i) const { return i >= first && i < end; }
};

// As long as a row of channels: what a tap reads where it meets nothing.
template <class T> const T* new_zeros(Scratch& scratch, const Problem& p) {
  return scratch.take<T>(p.channels + p.blocks * kWidth<T>);
}

// The window of one output position after the other along a row, of `columns` columns: more than a kernel's for several
// neighbours at once. Cell t = row * columns + column reads at x[t] + at; positions away from the border differ in `at` only.
template <class T> class ValueWindow {
 public:
  const T** x;
  int64_t at = 0;

  ValueWindow(Scratch& scratch, const Problem& p) : ValueWindow(scratch, p, p.kernel_size) {}
  ValueWindow(Scratch& scratch, const Problem& p, int64_t columns)
      : x(scratch.take<const T*>(p.kernel_size * columns)),
        p_(p),
        wide_(columns),
        pad_(p.dilation * (p.kernel_size / 2)),
        step_(p.stride * p.value_strides[3]),
        rows_(pad_, p.stride, p.height, p.out_h),
        columns_(pad_, p.stride, p.width - (columns - p.kernel_size), p.out_w),
        zeros_(new_zeros<T>(scratch, p)) {}

  void start_row(const T* image, int64_t i) {
    image_ = image, top_ = i * p_.stride - pad_;
    row_inside_ = rows_.holds(i), inside_ = false;
    column_ = -1;
  }
  COTNET_INLINE void move_to(int64_t j) {
    if (j == column_) return;
    const bool inside = row_inside_ && columns_.holds(j);
    if (inside && inside_) at += step_ * (j - column_);
    else place(j);
    column_ = j, inside_ = inside;
  }

 private:
  __attribute__((noinline)) void place(int64_t j) {
    const int64_t left = j * p_.stride - pad_;
    at = 0;
    for (int64_t u = 0, t = 0; u < p_.kernel_size; ++u) {
      const int64_t h = top_ + u * p_.dilation;
      const T* row = image_ + h * p_.value_strides[2];
      for (int64_t v = 0; v < wide_; ++v, ++t) {
        const int64_t w = left + v * p_.dilation;
        x[t] = h >= 0 && h < p_.height && w >= 0 && w < p_.width ? row + w * p_.value_strides[3] : zeros_;
      }
    }
  }

  const Problem& p_;
  int64_t wide_, pad_, step_;
  Interior rows_, columns_;
  const T *zeros_, *image_ = nullptr;
  int64_t top_ = 0, column_ = -1;
  bool row_inside_ = false, inside_ = false;  // the row, the whole window
};

}  // namespace
