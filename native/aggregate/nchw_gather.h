// Vectors along pixels, for maps whose channels lie far apart: a head's weights are read once for the channels that
// share it, and the planes of those are laid out once for each column of the window, shifted and filled with zeros
// outside, so that the taps add up over flat runs of pixels whatever the width. Any strides come in by that copy.
#pragma once

#include "../runtime/parallel.h"
#include "layout.h"

namespace {

// Tasks: for each image and head, bands of successive rows of the `rows` x `columns` grid that is computed.
struct BandGrid {
  int64_t rows, columns, band_rows, bands_per_head, tasks;

  // `pixels` is about how many a band should have.
  BandGrid(const AggregateProblem& p, int64_t grid_rows, int64_t grid_columns, int64_t pixels)
      : rows(grid_rows), columns(grid_columns) {
    band_rows = columns < pixels ? pixels / columns : 1;
    if (band_rows > rows) band_rows = rows;
    bands_per_head = (rows + band_rows - 1) / band_rows;
    tasks = p.batch * p.heads * bands_per_head;
  }
};

struct Band {
  Head head;
  int64_t row, rows, pixels;

  Band(const AggregateProblem& p, const BandGrid& grid, int64_t task) : head(p, task / grid.bands_per_head) {
    row = task % grid.bands_per_head * grid.band_rows;
    rows = row + grid.band_rows < grid.rows ? grid.band_rows : grid.rows - row;
    pixels = rows * grid.columns;
  }
};

// A two-dimensional image in memory.
template <class T> struct Plane {
  T* first;
  int64_t row_stride, column_stride, rows, columns;
};

template <class T> COTNET_INLINE void copy_widened(Accumulator<T>* to, const T* from, int64_t count) {
  constexpr int lanes = kLanes<Accumulator<T>>;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, load(from + i));
  if (i == count) return;
  if (count >= lanes) store(to + count - lanes, load(from + count - lanes));
  else
    for (; i < count; ++i) to[i] = widen(from[i]);
}

// to[r * columns + c] = plane[r + row][c + column] where the plane is dense and has as many columns: one run over all
// rows, where what is carried from one row's end to the next row's beginning is wiped out.
template <class T> void copy_shifted_run(Accumulator<T>* to, int64_t rows, int64_t columns, const Plane<const T>& plane,
                                         int64_t row, int64_t column) {
  int64_t top = row < 0 ? -row : 0, bottom = plane.rows - row < rows ? plane.rows - row : rows;
  if (top > rows) top = rows;
  if (bottom < top) bottom = top;
  int64_t begin = top * columns, end = bottom * columns;
  const int64_t shift = row * columns + column, size = plane.rows * columns;
  memset(to, 0, size_t(begin) * sizeof(*to));
  memset(to + end, 0, size_t(rows * columns - end) * sizeof(*to));
  const int64_t from = begin + shift < 0 ? -shift : begin, until = end + shift > size ? size - shift : end;
  if (from < until) copy_widened(to + from, plane.first + from + shift, until - from);
  const int64_t moved = column < 0 ? -column : column, wiped = moved < columns ? moved : columns;
  const int64_t first = column < 0 ? 0 : columns - wiped;
  for (int64_t r = top; r < bottom; ++r)
    for (int64_t c = first; c < first + wiped; ++c) to[r * columns + c] = 0;
}

// to[r * columns + c] = plane[(r * down + row) / up][(c * down + column) / up], zero where that is outside or between.
template <class T> void copy_shifted(Accumulator<T>* to, int64_t rows, int64_t columns, const Plane<const T>& plane,
                                     int64_t row, int64_t column, int64_t down, int64_t up) {
  if (down == 1 && up == 1 && plane.column_stride == 1 && plane.row_stride == columns && plane.columns == columns)
    return copy_shifted_run(to, rows, columns, plane, row, column);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t h = r * down + row;
    const bool met = h >= 0 && h % up == 0 && h / up < plane.rows;
    const T* from = met ? plane.first + h / up * plane.row_stride : nullptr;
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t x = c * down + column;
      const bool inside = met && x >= 0 && x % up == 0 && x / up < plane.columns;
      to[r * columns + c] = inside ? widen(from[x / up * plane.column_stride]) : 0;
    }
  }
}

// For some channels at once, what each tap reads at each pixel of a band: at(q) + offset[t] is a flat run of pixels.
template <class T> class TapCopies {
  using A = Accumulator<T>;

 public:
  int64_t* offset;
  int64_t channel_pitch;

  TapCopies(Scratch& scratch, const AggregateProblem& p, const BandGrid& grid, Direction direction, int64_t channels)
      : p_(p),
        direction_(direction),
        columns_(grid.columns),
        k_(p.kernel_size),
        pad_(p.dilation * (p.kernel_size / 2)) {
    // With a stride of 1 the window's rows overlap: a copy for each of its columns is enough.
    const int64_t halo = p.dilation * (k_ - 1);
    overlaps_ = p.stride == 1 && halo <= 4 * grid.band_rows;
    pitch_ = (grid.band_rows + (overlaps_ ? halo : 0)) * columns_;
    channel_pitch = (overlaps_ ? k_ : k_ * k_) * pitch_;
    data_ = scratch.take<A>(channels * channel_pitch);
    offset = scratch.take<int64_t>(k_ * k_);
    if (scratch.failed) return;
    for (int64_t u = 0, t = 0; u < k_; ++u)
      for (int64_t v = 0; v < k_; ++v, ++t) {
        const int64_t rows = p.dilation * (direction == kForward ? u : k_ - 1 - u);
        offset[t] = overlaps_ ? v * pitch_ + rows * columns_ : t * pitch_;
      }
  }
  const A* at(int64_t q) const { return data_ + q * channel_pitch; }

  void fill(int64_t q, const Plane<const T>& plane, const Band& band) {
    A* to = data_ + q * channel_pitch;
    const int64_t d = p_.dilation, s = p_.stride;
    if (overlaps_) {
      for (int64_t v = 0; v < k_; ++v)
        copy_shifted(to + v * pitch_, band.rows + d * (k_ - 1), columns_, plane, band.row - pad_,
                     direction_ == kForward ? v * d - pad_ : pad_ - v * d, 1, 1);
      return;
    }
    for (int64_t u = 0, t = 0; u < k_; ++u)
      for (int64_t v = 0; v < k_; ++v, ++t) {
        A* copy = to + t * pitch_;
        if (direction_ == kForward)
          copy_shifted(copy, band.rows, columns_, plane, band.row * s - pad_ + u * d, v * d - pad_, s, 1);
        else copy_shifted(copy, band.rows, columns_, plane, band.row + pad_ - u * d, pad_ - v * d, 1, s);
      }
  }

 private:
  const AggregateProblem& p_;
  Direction direction_;
  int64_t columns_, k_, pad_;
  bool overlaps_;
  int64_t pitch_;
  A* data_;
};

// Whether the band's pixels are one run in memory, long enough for a vector.
template <class T> bool is_run(const Plane<T>& plane, const Band& band) {
  return plane.column_stride == 1 && (plane.row_stride == plane.columns || band.rows == 1) &&
         band.pixels >= kLanes<Accumulator<T>>;
}

template <class T> void write_band(const Plane<T>& plane, const Band& band, const Accumulator<T>* from) {
  for (int64_t r = 0; r < band.rows; ++r)
    for (int64_t c = 0; c < plane.columns; ++c)
      plane.first[(band.row + r) * plane.row_stride + c * plane.column_stride] = narrow<T>(from[r * plane.columns + c]);
}

// out[q][pixel] = sum over t of w[t][pixel] * x[q][offset[t] + pixel]. A last vector covers what the others left over.
template <class T, int COUNT, class A = Accumulator<T>>
void aggregate_runs(T* const* out, const A* x, int64_t channel_pitch, const int64_t* offset, const A* const* w,
                    int64_t taps, int64_t pixels) {
  constexpr int lanes = kLanes<A>;
  int64_t at = 0;
  for (; at + 2 * lanes <= pixels; at += 2 * lanes) {
    Vector<A> sums[COUNT][2] = {};
    for (int64_t t = 0; t < taps; ++t) {
      const Vector<A> first = load(w[t] + at), second = load(w[t] + at + lanes);
      const A* from = x + offset[t] + at;
#pragma GCC unroll 4
      for (int q = 0; q < COUNT; ++q) {
        sums[q][0] += first * load(from + q * channel_pitch);
        sums[q][1] += second * load(from + q * channel_pitch + lanes);
      }
    }
    for (int q = 0; q < COUNT; ++q) {
      store(out[q] + at, sums[q][0]);
      store(out[q] + at + lanes, sums[q][1]);
    }
  }
  while (at < pixels) {
    if (at + lanes > pixels && pixels >= lanes) at = pixels - lanes;
    Vector<A> sums[COUNT] = {};
    for (int64_t t = 0; t < taps; ++t) {
      const Vector<A> weight = load(w[t] + at);
#pragma GCC unroll 4
      for (int q = 0; q < COUNT; ++q) sums[q] += weight * load(x + offset[t] + q * channel_pitch + at);
    }
    for (int q = 0; q < COUNT; ++q) store(out[q] + at, sums[q]);
    at += lanes;
  }
}

// Channels whose planes are copied and summed at once.
constexpr int64_t kChannelsForward = 4, kChannelsGradWeight = 8;

// Some bands of the operator, or of its gradient by the value, which reads the gradient of the output at mirrored taps
// with the weights that lie there.
template <class T> int aggregate_bands(const AggregateProblem& p, const BandGrid& grid, Direction direction,
                                       const T* input, const T* weight, T* output, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const bool forward = direction == kForward;
  const int64_t k = p.kernel_size, taps = k * k, pad = p.dilation * (k / 2), *ws = p.weight_strides;
  const int64_t *is = forward ? p.value_strides : p.out_strides, *os = forward ? p.out_strides : p.value_strides;
  const int64_t in_rows = forward ? p.height : p.out_h, in_columns = forward ? p.width : p.out_w;
  const int64_t pitch = grid.band_rows * grid.columns, result_pitch = pitch + kLanes<A>;

  Scratch scratch;
  TapCopies<T> copies(scratch, p, grid, direction, kChannelsForward);
  A* weight_copies = scratch.take<A>(taps * pitch + kChannelsForward * result_pitch);
  const A** w = scratch.take<const A*>(taps);
  if (scratch.failed) return kOutOfMemory;
  A* results = weight_copies + taps * pitch;

  for (int64_t task = begin; task < end; ++task) {
    const Band band(p, grid, task);
    const Head& head = band.head;
    for (int64_t t = 0; t < taps; ++t) {
      const T* first = weight + head.n * ws[0] + head.head * ws[1] + t * ws[2];
      const Plane<const T> plane{first, ws[3], ws[4], p.out_h, p.out_w};
      if constexpr (kAccumulates<T>)
        if (forward && is_run(plane, band)) {
          w[t] = first + band.row * ws[3];
          continue;
        }
      A* copy = weight_copies + t * pitch;
      if (forward) copy_shifted(copy, band.rows, grid.columns, plane, band.row, 0, 1, 1);
      else
        copy_shifted(copy, band.rows, grid.columns, plane, band.row + pad - t / k * p.dilation,
                     pad - t % k * p.dilation, 1, p.stride);
      w[t] = copy;
    }
    for_blocks<4, 2, 1>(head.channels, [&](auto count, int64_t s) {
      Plane<T> planes[count.value];
      for (int64_t q = 0; q < count; ++q) {
        const int64_t c = head.first_channel + (s + q) * head.channel_step;
        copies.fill(q, {input + head.n * is[0] + c * is[1], is[2], is[3], in_rows, in_columns}, band);
        planes[q] = {output + head.n * os[0] + c * os[1], os[2], os[3], grid.rows, grid.columns};
      }
      const auto aggregate = [&](auto* const* out) {
        aggregate_runs<std::remove_reference_t<decltype(**out)>, count.value>(out, copies.at(0), copies.channel_pitch,
                                                                              copies.offset, w, taps, band.pixels);
      };
      if (is_run(planes[0], band)) {
        T* out[count.value];
        for (int64_t q = 0; q < count; ++q) out[q] = planes[q].first + band.row * os[2];
        aggregate(out);
      } else {
        A* out[count.value];
        for (int64_t q = 0; q < count; ++q) out[q] = results + q * result_pitch;
        aggregate(out);
        for (int64_t q = 0; q < count; ++q) write_band(planes[q], band, out[q]);
      }
    });
  }
  return kOk;
}

template <class T>
int aggregate_nchw_gather(const AggregateProblem& p, Direction direction, const T* input, const T* weight, T* output) {
  const bool forward = direction == kForward;
  const BandGrid grid(p, forward ? p.out_h : p.height, forward ? p.out_w : p.width, 448);
  return parallel_for(useful_threads(p), grid.tasks, [&](int64_t begin, int64_t end) {
    return aggregate_bands(p, grid, direction, input, weight, output, begin, end);
  });
}

// sums[t][pixel] += sum over q of grads[q][pixel] * x[q][offset[t] + pixel], for COUNT taps at once.
template <int COUNT, class A> void add_tap_products(A* sums, int64_t pitch, const A* const* grads, const A* x,
                                                    int64_t channel_pitch, const int64_t* offset, int64_t channels,
                                                    int64_t pixels) {
  for (int64_t at = 0; at < pixels; at += kLanes<A>) {
    Vector<A> held[COUNT];
#pragma GCC unroll 16
    for (int t = 0; t < COUNT; ++t) held[t] = load(sums + t * pitch + at);
    for (int64_t q = 0; q < channels; ++q) {
      const Vector<A> grad = load(grads[q] + at);
      const A* from = x + q * channel_pitch + at;
#pragma GCC unroll 16
      for (int t = 0; t < COUNT; ++t) held[t] += grad * load(from + offset[t]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < COUNT; ++t) store(sums + t * pitch + at, held[t]);
  }
}

template <class T> int grad_weight_bands(const AggregateProblem& p, const BandGrid& grid, const T* grad_out,
                                         const T* value, T* grad_weight, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t taps = p.kernel_size * p.kernel_size;
  const int64_t *vs = p.value_strides, *os = p.out_strides, *ws = p.weight_strides;
  const int64_t pitch = grid.band_rows * grid.columns + kLanes<A>;

  Scratch scratch;
  TapCopies<T> copies(scratch, p, grid, kForward, kChannelsGradWeight);
  A* sums = scratch.take<A>(taps * pitch);
  A* grad_copies = scratch.take<A>(kChannelsGradWeight * pitch);
  if (scratch.failed) return kOutOfMemory;

  for (int64_t task = begin; task < end; ++task) {
    const Band band(p, grid, task);
    const Head& head = band.head;
    memset(sums, 0, size_t(taps * pitch) * sizeof(A));
    for (int64_t s = 0; s < head.channels; s += kChannelsGradWeight) {
      const int64_t left = head.channels - s, count = left < kChannelsGradWeight ? left : kChannelsGradWeight;
      const A* grads[kChannelsGradWeight];
      for (int64_t q = 0; q < count; ++q) {
        const int64_t c = head.first_channel + (s + q) * head.channel_step;
        copies.fill(q, {value + head.n * vs[0] + c * vs[1], vs[2], vs[3], p.height, p.width}, band);
        const Plane<const T> plane{grad_out + head.n * os[0] + c * os[1], os[2], os[3], p.out_h, p.out_w};
        copy_shifted(grad_copies + q * pitch, band.rows, grid.columns, plane, band.row, 0, 1, 1);
        grads[q] = grad_copies + q * pitch;
      }
      for_blocks<9, 1>(taps, [&](auto taps_at_once, int64_t t) {
        add_tap_products<taps_at_once.value>(sums + t * pitch, pitch, grads, copies.at(0), copies.channel_pitch,
                                             copies.offset + t, count, band.pixels);
      });
    }
    for (int64_t t = 0; t < taps; ++t)
      write_band<T>({grad_weight + head.n * ws[0] + head.head * ws[1] + t * ws[2], ws[3], ws[4], p.out_h, p.out_w},
                    band, sums + t * pitch);
  }
  return kOk;
}

template <class T>
int grad_weight_nchw_gather(const AggregateProblem& p, const T* grad_out, const T* value, T* grad_weight) {
  const BandGrid grid(p, p.out_h, p.out_w, 224);
  return parallel_for(useful_threads(p), grid.tasks, [&](int64_t begin, int64_t end) {
    return grad_weight_bands(p, grid, grad_out, value, grad_weight, begin, end);
  });
}

}  // namespace
