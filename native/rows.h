// Rows of a map as the channel kernels read them: in place where channels are dense and need no widening, and
// otherwise copied into a ring that holds the rows of the current window.
#pragma once

#include <cstdlib>

#include "pixel.h"

namespace {

// Memory of one thread for one call; every piece is aligned to a cache line. A failure shows in `failed`.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    for (int i = 0; i < count_; ++i) free(pieces_[i]);
  }
  template <class A> A* take(int64_t elements) {
    int64_t bytes;
    if (__builtin_mul_overflow(elements, int64_t(sizeof(A)), &bytes) || bytes > INT64_MAX - 128 || failed) {
      failed = true;
      return nullptr;
    }
    void* piece = aligned_alloc(64, size_t((bytes + 64) / 64 * 64));
    if (piece == nullptr) {
      failed = true;
      return nullptr;
    }
    pieces_[count_++] = piece;
    return static_cast<A*>(piece);
  }
  bool failed = false;

 private:
  void* pieces_[16];
  int count_ = 0;
};

template <class T> class Rows {
  using A = Accumulator<T>;

 public:
  int64_t pixel_stride;

  // `strides` are those of [N, C, height, width]; at most `window` successive rows are in use at once.
  void prepare(Scratch& scratch, const T* data, const int64_t* strides, int64_t channels, int64_t height, int64_t width,
               int64_t window) {
    data_ = data, strides_ = strides, channels_ = channels, width_ = width;
    in_place_ = IsAccumulator<T>::value && strides[1] == 1;
    pixel_stride = in_place_ ? strides[3] : channels;
    if (in_place_) return;
    window_ = window < height ? window : height;
    ring_ = scratch.take<A>(window_ * width * channels);
    held_ = scratch.take<int64_t>(2 * window_);
    if (scratch.failed) return;
    for (int64_t i = 0; i < 2 * window_; ++i) held_[i] = -1;
  }

  const A* row(int64_t n, int64_t i) {
    const T* source = data_ + n * strides_[0] + i * strides_[2];
    if (in_place_) return reinterpret_cast<const A*>(source);
    const int64_t slot = i % window_;
    A* target = ring_ + slot * width_ * channels_;
    if (held_[2 * slot] != n || held_[2 * slot + 1] != i) {
      // As a transposition of [columns][channels] or its converse, whichever of the two is dense in memory.
      if (strides_[1] == 1) {
        for (int64_t j = 0; j < width_; ++j)
          gather_transposed(target + j * channels_, source + j * strides_[3], channels_, 1, 1, 0);
      } else {
        gather_transposed(target, source, channels_, width_, strides_[1], strides_[3]);
      }
      held_[2 * slot] = n, held_[2 * slot + 1] = i;
    }
    return target;
  }

 private:
  const T* data_;
  const int64_t* strides_;
  int64_t channels_, width_, window_;
  bool in_place_;
  A* ring_;
  int64_t* held_;
};

// The rows of a map that a kernel writes, pixel by pixel.
template <class T> class OutputRow {
  using A = Accumulator<T>;

 public:
  void prepare(Scratch& scratch, T* data, const int64_t* strides, int64_t channels, int64_t width) {
    data_ = data, strides_ = strides, channels_ = channels, width_ = width;
    in_place_ = strides[1] == 1;
    row_ = in_place_ ? nullptr : scratch.take<A>(width * channels);
  }
  void begin(int64_t n, int64_t i) { target_ = data_ + n * strides_[0] + i * strides_[2]; }

  template <int TAPS>
  COTNET_INLINE void pixel(const Channels& c, int64_t j, const A* const* x, const A* const* w, int64_t taps) {
    if (in_place_) sum_taps<TAPS, T>(c, target_ + j * strides_[3], x, w, taps);
    else sum_taps<TAPS, A>(c, row_ + j * channels_, x, w, taps);
  }
  void end() {
    if (!in_place_) scatter_transposed(target_, row_, channels_, width_, strides_[1], strides_[3]);
  }

 private:
  T* data_;
  T* target_;
  const int64_t* strides_;
  int64_t channels_, width_;
  bool in_place_;
  A* row_;
};

}  // namespace
