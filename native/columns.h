// Vectors along columns, for maps whose channels lie far apart: a map's kernel is read once for the channels that share
// it, and the images of those are laid out once per column of the window, shifted and filled with zeros outside, so
// that the taps add up over flat runs of pixels whatever the width. Any strides come in by that copy.
#pragma once

#include "problem.h"
#include "scratch.h"
#include "simd.h"

namespace {

// Tasks: for each image and map, bands of successive rows of the `rows` x `columns` grid that is computed.
struct Bands {
  int64_t rows, columns, height, per_map, maps, batch;

  Bands(const Problem& p, int64_t grid_rows, int64_t grid_columns, int64_t pixels)
      : rows(grid_rows), columns(grid_columns) {
    height = columns < pixels ? pixels / columns : 1;
    if (height > rows) height = rows;
    per_map = (rows + height - 1) / height;
    maps = p.maps, batch = p.batch;
  }
  int64_t count() const { return batch * maps * per_map; }
};

struct Band {
  int64_t n, map, first_channel, channel_step, channels, row, rows, pixels;

  Band(const Problem& p, const Bands& bands, int64_t task) {
    const int64_t maps = p.maps / p.blocks, per_block = p.channels / p.blocks;
    n = task / (bands.maps * bands.per_map), map = task / bands.per_map % bands.maps;
    first_channel = map / maps * per_block + map % maps, channel_step = maps, channels = per_block / maps;
    row = task % bands.per_map * bands.height;
    rows = row + bands.height < bands.rows ? bands.height : bands.rows - row;
    pixels = rows * bands.columns;
  }
};

// A two-dimensional image in memory.
template <class T> struct Plane {
  T* at;
  int64_t row_stride, column_stride, rows, columns;
};

template <class T> COTNET_INLINE void copy_run(Accumulator<T>* to, const T* from, int64_t count) {
  constexpr int lanes = kLanes<Accumulator<T>>;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, load(from + i));
  if (i == count) return;
  if (count >= lanes) store(to + count - lanes, load(from + count - lanes));
  else
    for (; i < count; ++i) to[i] = widen(from[i]);
}

// to[r * columns + c] = plane[(r * down + row) / up][(c * down + column) / up], zero where that is outside or between.
template <class T>
void place(Accumulator<T>* to, int64_t rows, int64_t columns, const Plane<const T>& plane, int64_t row, int64_t column,
           int64_t down, int64_t up) {
  if (down == 1 && up == 1 && plane.column_stride == 1 && plane.row_stride == columns && plane.columns == columns) {
    // One run over all rows; what it carries from one row's end to the next row's beginning is wiped out.
    int64_t top = row < 0 ? -row : 0, bottom = plane.rows - row < rows ? plane.rows - row : rows;
    if (top > rows) top = rows;
    if (bottom < top) bottom = top;
    int64_t begin = top * columns, end = bottom * columns;
    const int64_t shift = row * columns + column, size = plane.rows * columns;
    memset(to, 0, size_t(begin) * sizeof(*to));
    memset(to + end, 0, size_t(rows * columns - end) * sizeof(*to));
    const int64_t from = begin + shift < 0 ? -shift : begin, until = end + shift > size ? size - shift : end;
    if (from < until) copy_run(to + from, plane.at + from + shift, until - from);
    const int64_t moved = column < 0 ? -column : column, wiped = moved < columns ? moved : columns;
    const int64_t first = column < 0 ? 0 : columns - wiped;
    for (int64_t r = top; r < bottom; ++r)
      for (int64_t c = first; c < first + wiped; ++c) to[r * columns + c] = 0;
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t h = r * down + row;
    const bool met = h >= 0 && h % up == 0 && h / up < plane.rows;
    const T* from = met ? plane.at + h / up * plane.row_stride : nullptr;
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t x = c * down + column;
      const bool inside = met && x >= 0 && x % up == 0 && x / up < plane.columns;
      to[r * columns + c] = inside ? widen(from[x / up * plane.column_stride]) : 0;
    }
  }
}

enum Direction { kForward, kBackward };

// For some channels at once, what each tap reads at each pixel of a band: at(q) + offset[t] is a flat run of pixels.
template <class T> class Neighbours {
  using A = Accumulator<T>;

 public:
  int64_t* offset;
  int64_t channel_pitch;

  void prepare(Scratch& scratch, const Problem& p, const Bands& bands, Direction direction, int64_t together) {
    p_ = &p, direction_ = direction, columns_ = bands.columns;
    k_ = p.kernel_size, pad_ = p.dilation * (k_ / 2);
    // With a step of 1 the window's rows overlap: a copy for each of its columns is enough.
    const int64_t halo = p.dilation * (k_ - 1);
    overlaps_ = p.stride == 1 && halo <= 4 * bands.height;
    pitch_ = (bands.height + (overlaps_ ? halo : 0)) * columns_;
    channel_pitch = (overlaps_ ? k_ : k_ * k_) * pitch_;
    data_ = scratch.take<A>(together * channel_pitch);
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
    const int64_t d = p_->dilation, s = p_->stride;
    if (overlaps_) {
      for (int64_t v = 0; v < k_; ++v)
        place(to + v * pitch_, band.rows + d * (k_ - 1), columns_, plane, band.row - pad_,
              direction_ == kForward ? v * d - pad_ : pad_ - v * d, 1, 1);
      return;
    }
    for (int64_t u = 0, t = 0; u < k_; ++u)
      for (int64_t v = 0; v < k_; ++v, ++t) {
        if (direction_ == kForward)
          place(to + t * pitch_, band.rows, columns_, plane, band.row * s - pad_ + u * d, v * d - pad_, s, 1);
        else
          place(to + t * pitch_, band.rows, columns_, plane, band.row + pad_ - u * d, pad_ - v * d, 1, s);
      }
  }

 private:
  const Problem* p_;
  Direction direction_;
  bool overlaps_;
  int64_t columns_, k_, pad_, pitch_;
  A* data_;
};

// Whether the band's pixels are one run in memory, long enough for a vector.
template <class T> bool flat(const Plane<T>& plane, const Band& band) {
  return plane.column_stride == 1 && (plane.row_stride == plane.columns || band.rows == 1) &&
         band.pixels >= kLanes<Accumulator<T>>;
}

template <class T> void write_band(const Plane<T>& plane, const Band& band, const Accumulator<T>* from) {
  for (int64_t r = 0; r < band.rows; ++r)
    for (int64_t c = 0; c < plane.columns; ++c)
      plane.at[(band.row + r) * plane.row_stride + c * plane.column_stride] = narrow<T>(from[r * plane.columns + c]);
}

// out[q][pixel] = sum over t of w[t][pixel] * x[q][offset[t] + pixel]. A last vector covers what the others left over.
template <class T, int COUNT, class A = Accumulator<T>>
void sum_columns(T* const* out, const A* x, int64_t channel_pitch, const int64_t* offset, const A* const* w,
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
    for (int q = 0; q < COUNT; ++q) store(out[q] + at, sums[q][0]), store(out[q] + at + lanes, sums[q][1]);
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

template <class T> auto sum_columns_for(T* const*, int64_t count) {
  return count == 4 ? sum_columns<T, 4> : count == 2 ? sum_columns<T, 2> : sum_columns<T, 1>;
}

// The whole operator for tasks begin to end, or its gradient by the value, which reads the gradient of the output at
// mirrored taps with the weights that lie there.
template <class T>
int sum_along_columns(const Problem& p, const Bands& bands, Direction direction, const T* input, const T* weight,
                      T* output, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  constexpr int64_t together = 4;
  const bool forward = direction == kForward;
  const int64_t k = p.kernel_size, taps = k * k, pad = p.dilation * (k / 2), *ws = p.weight_strides;
  const int64_t *is = forward ? p.value_strides : p.out_strides, *os = forward ? p.out_strides : p.value_strides;
  const int64_t in_rows = forward ? p.height : p.out_h, in_columns = forward ? p.width : p.out_w;
  const int64_t pitch = bands.height * bands.columns;

  Scratch scratch;
  Neighbours<T> neighbours;
  neighbours.prepare(scratch, p, bands, direction, together);
  A* copies = scratch.take<A>(taps * pitch + together * (pitch + kLanes<A>));
  const A** w = scratch.take<const A*>(taps);
  if (scratch.failed) return kOutOfMemory;
  A* results = copies + taps * pitch;

  for (int64_t task = begin; task < end; ++task) {
    const Band band(p, bands, task);
    for (int64_t t = 0; t < taps; ++t) {
      const T* at = weight + band.n * ws[0] + band.map * ws[1] + t * ws[2];
      const Plane<const T> plane{at, ws[3], ws[4], p.out_h, p.out_w};
      if constexpr (kAccumulates<T>)
        if (forward && flat(plane, band)) {
          w[t] = at + band.row * ws[3];
          continue;
        }
      if (forward) place(copies + t * pitch, band.rows, bands.columns, plane, band.row, 0, 1, 1);
      else
        place(copies + t * pitch, band.rows, bands.columns, plane, band.row + pad - t / k * p.dilation,
              pad - t % k * p.dilation, 1, p.stride);
      w[t] = copies + t * pitch;
    }
    for (int64_t s = 0; s < band.channels;) {
      const int64_t count = band.channels - s >= 4 ? 4 : band.channels - s >= 2 ? 2 : 1;
      Plane<T> planes[together];
      for (int64_t q = 0; q < count; ++q) {
        const int64_t c = band.first_channel + (s + q) * band.channel_step;
        neighbours.fill(q, {input + band.n * is[0] + c * is[1], is[2], is[3], in_rows, in_columns}, band);
        planes[q] = {output + band.n * os[0] + c * os[1], os[2], os[3], bands.rows, bands.columns};
      }
      const auto sum = [&](auto* const* out) {
        const auto go = sum_columns_for(out, count);
        go(out, neighbours.at(0), neighbours.channel_pitch, neighbours.offset, w, taps, band.pixels);
      };
      if (flat(planes[0], band)) {
        T* out[together];
        for (int64_t q = 0; q < count; ++q) out[q] = planes[q].at + band.row * os[2];
        sum(out);
      } else {
        A* out[together];
        for (int64_t q = 0; q < count; ++q) out[q] = results + q * (pitch + kLanes<A>);
        sum(out);
        for (int64_t q = 0; q < count; ++q) write_band(planes[q], band, out[q]);
      }
      s += count;
    }
  }
  return kDone;
}

// sums[t][pixel] += sum over q of grads[q][pixel] * x[q][offset[t] + pixel], for COUNT taps at once.
template <int COUNT, class A>
void add_products(A* sums, int64_t pitch, const A* const* grads, const A* x, int64_t channel_pitch,
                  const int64_t* offset, int64_t channels, int64_t pixels) {
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

template <class T>
int grad_weight_along_columns(const Problem& p, const Bands& bands, const T* grad_out, const T* value, T* grad_weight,
                              int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  constexpr int64_t together = 8;
  const int64_t taps = p.kernel_size * p.kernel_size;
  const int64_t *vs = p.value_strides, *os = p.out_strides, *ws = p.weight_strides;
  const int64_t pitch = bands.height * bands.columns + kLanes<A>;

  Scratch scratch;
  Neighbours<T> neighbours;
  neighbours.prepare(scratch, p, bands, kForward, together);
  A* sums = scratch.take<A>(taps * pitch);
  A* copies = scratch.take<A>(together * pitch);
  if (scratch.failed) return kOutOfMemory;

  for (int64_t task = begin; task < end; ++task) {
    const Band band(p, bands, task);
    memset(sums, 0, size_t(taps * pitch) * sizeof(A));
    for (int64_t s = 0; s < band.channels; s += together) {
      const int64_t count = band.channels - s < together ? band.channels - s : together;
      const A* grads[together];
      for (int64_t q = 0; q < count; ++q) {
        const int64_t c = band.first_channel + (s + q) * band.channel_step;
        neighbours.fill(q, {value + band.n * vs[0] + c * vs[1], vs[2], vs[3], p.height, p.width}, band);
        const Plane<const T> plane{grad_out + band.n * os[0] + c * os[1], os[2], os[3], p.out_h, p.out_w};
        place(copies + q * pitch, band.rows, bands.columns, plane, band.row, 0, 1, 1);
        grads[q] = copies + q * pitch;
      }
      const A* x = neighbours.at(0);
      const int64_t* offset = neighbours.offset;
      int64_t t = 0;
      for (; t + 9 <= taps; t += 9)
        add_products<9>(sums + t * pitch, pitch, grads, x, neighbours.channel_pitch, offset + t, count, band.pixels);
      for (; t < taps; ++t)
        add_products<1>(sums + t * pitch, pitch, grads, x, neighbours.channel_pitch, offset + t, count, band.pixels);
    }
    for (int64_t t = 0; t < taps; ++t)
      write_band<T>({grad_weight + band.n * ws[0] + band.map * ws[1] + t * ws[2], ws[3], ws[4], p.out_h, p.out_w}, band,
                    sums + t * pitch);
  }
  return kDone;
}

}  // namespace
