// A CoT layer for inference, in steps whose results are still in the cache for the next:
//
// 1. the static context, a convolution, where it is not given;
// 2. by tiles of pixels the attention and the value, where they are not given, and the moments of the attention;
// 3. by rows the normalised attention, the aggregation, SiLU, and the sums for the fusion;
// 4. the shares of the fusion;
// 5. the mixture of dynamic and static context.
#pragma once

#include <cmath>
#include <type_traits>

#include "conv.h"
#include "fused.h"
#include "gemm.h"
#include "parallel.h"
#include "pixel.h"
#include "spread.h"
#include "weight_rows.h"
#include "window.h"
#include "workspace.h"

namespace {

template <class T> class FusedLayer {
 public:
  explicit FusedLayer(const FusedProblem& f)
      : f_(f),
        taps_(f.kernel_size * f.kernel_size),
        weights_(taps_ * f.maps),
        pixels_(f.height * f.width),
        tiles_(2 * ((pixels_ + 2 * kTile - 1) / (2 * kTile))),
        p_(window_problem()),
        spread_(Runs::of<T>(p_)) {}

  int run() const {
    const int64_t threads = f_.batch * pixels_ * f_.channels < (1 << 14) ? 1 : f_.threads;
    const bool by_images = f_.batch % threads == 0 || f_.batch >= 4 * threads;
    const float* contexts = nullptr;
    // Weights that would push an image's maps out of the cache are read once for all images.
    const WinogradProblem all = static_problem(threads);
    if (f_.static_context == nullptr && (!by_images || conv_weights(all) > pixels_ * f_.channels))
      if (const int status = static_contexts(all, &contexts); status != kDone) return status;

    if (by_images)
      return share_out(threads, f_.batch, [&](int64_t begin, int64_t end) {
        int status = kDone;
        for (int64_t n = begin; n < end && status == kDone; ++n) status = whole(n, contexts);
        return status;
      });

    // Too few images to go round: all of them take each step together.
    const int64_t bytes = image_bytes(contexts);
    const uintptr_t memory = workspace<kLayer>().reserve(f_.batch * bytes);
    if (memory == 0) return kOutOfMemory;
    const auto in_parts = [&](int64_t parts, auto step) {
      return share_out(threads, f_.batch * parts, [&](int64_t begin, int64_t end) {
        int status = kDone;
        for (int64_t at = begin; at < end && status == kDone;) {
          const int64_t n = at / parts, last = (n + 1) * parts < end ? (n + 1) * parts : end;
          Carver carver{memory + uintptr_t(n * bytes)};
          status = step(image(n, carver, contexts), at - n * parts, last - n * parts);
          at = last;
        }
        return status;
      });
    };
    int status = in_parts(tiles_, [&](const Image& a, int64_t first, int64_t last) { return tiles(a, first, last); });
    if (status == kDone)
      status = in_parts(f_.maps, [&](const Image& a, int64_t first, int64_t last) { return normalisation(a, first, last); });
    if (status == kDone)
      status = in_parts(f_.height, [&](const Image& a, int64_t first, int64_t last) { return rows(a, first, last); });
    if (status == kDone) status = in_parts(1, [&](const Image& a, int64_t, int64_t) { return pool(a); });
    if (status == kDone)
      status = in_parts(f_.squeezed, [&](const Image& a, int64_t first, int64_t last) { return squeeze(a, first, last); });
    if (status == kDone)
      status = in_parts(f_.channels, [&](const Image& a, int64_t first, int64_t last) { return excite(a, first, last); });
    if (status == kDone)
      status = in_parts(f_.height, [&](const Image& a, int64_t first, int64_t last) { return mix(a, first, last); });
    return status;
  }

 private:
  static constexpr int64_t kTile = 96;  // pixels, at the most; an even number of tiles goes round

  struct Image {
    const T *x, *static_context, *attention, *value;
    T *own_static_context, *own_attention, *own_value, *out;
    float *mean, *square;   // moments of the attention: [tiles][weights]
    float *scale, *offset;  // normalise it: [weights]
    float* sums;            // of dynamic and static context over a row: [H][C]
    float *pooled, *squeezed;  // of the fusion: [C], [squeezed]
    float* share;              // of the dynamic context: [C]
  };

  // Of the windows that the aggregation reads: stride 1, dense maps.
  Problem window_problem() const {
    const int64_t c = f_.channels, w = f_.width * c, h = f_.height * w;
    return {f_.dtype,  f_.threads, f_.kernel_size, 1,          f_.dilation, f_.groups, f_.batch,     c,            f_.maps,
            f_.height, f_.width,   f_.height,      f_.width,   {h, 1, w, c}, {h, 1, w, c}, {}};
  }

  template <class E> static E* at(const void* map, int64_t elements) {
    return map == nullptr ? nullptr : static_cast<E*>(const_cast<void*>(map)) + elements;
  }

  // The convolution that makes the static context of all images.
  WinogradProblem static_problem(int64_t threads) const {
    return {threads, f_.batch, f_.channels, f_.channels, f_.static_groups, f_.height, f_.width, 1,
            at<float>(f_.x, 0), at<float>(f_.static_weights, 0), at<float>(f_.static_bias, 0), nullptr};
  }
  int static_contexts(WinogradProblem conv, const float** out) const {
    Carver counter{0};
    counter.take<float>(f_.batch * pixels_ * f_.channels);
    Carver carver{workspace<kStaticContext>().reserve(counter.used)};
    if (carver.base == 0) return kOutOfMemory;
    *out = conv.out = carver.take<float>(f_.batch * pixels_ * f_.channels);
    return convolve(conv);
  }

  // Its static context is given, or among all images' `contexts`, or still to be made.
  Image image(int64_t n, Carver& carver, const void* contexts) const {
    const int64_t first = n * pixels_ * f_.channels;
    Image a{};
    a.x = at<T>(f_.x, first), a.out = at<T>(f_.out, first);
    if (contexts == nullptr) contexts = f_.static_context;
    a.static_context = contexts != nullptr ? at<T>(contexts, first)
                                           : a.own_static_context = carver.take<T>(pixels_ * f_.channels);
    if (f_.attention == nullptr) {
      a.attention = a.own_attention = carver.take<T>(pixels_ * weights_);
      a.value = a.own_value = carver.take<T>(pixels_ * f_.channels);
    } else {
      a.attention = at<T>(f_.attention, n * pixels_ * weights_), a.value = at<T>(f_.value, first);
    }
    a.mean = carver.take<float>(tiles_ * weights_), a.square = carver.take<float>(tiles_ * weights_);
    a.scale = carver.take<float>(weights_), a.offset = carver.take<float>(weights_);
    a.sums = carver.take<float>(f_.height * f_.channels), a.share = carver.take<float>(f_.channels);
    a.pooled = carver.take<float>(f_.channels), a.squeezed = carver.take<float>(f_.squeezed);
    return a;
  }

  int64_t image_bytes(const void* contexts) const {
    Carver counter{0};
    image(0, counter, contexts);
    return counter.used;
  }

  int whole(int64_t n, const void* contexts) const {
    Carver carver{workspace<kLayer>().reserve(image_bytes(contexts))};
    if (carver.base == 0) return kOutOfMemory;
    const Image a = image(n, carver, contexts);
    int status = kDone;
    if constexpr (std::is_same<T, float>::value)
      if (a.own_static_context != nullptr) {
        WinogradProblem conv = static_problem(1);
        conv.batch = 1, conv.x = a.x, conv.out = a.own_static_context;
        status = convolve(conv);
      }
    if (status == kDone) status = tiles(a, 0, tiles_);
    if (status == kDone) status = normalisation(a, 0, f_.maps);
    if (status == kDone) status = rows(a, 0, f_.height);
    if (status == kDone) status = pool(a);
    if (status == kDone) status = squeeze(a, 0, f_.squeezed);
    if (status == kDone) status = excite(a, 0, f_.channels);
    return status == kDone ? mix(a, 0, f_.height) : status;
  }

  int64_t tile_begin(int64_t tile) const { return pixels_ * tile / tiles_; }

  int tiles(const Image& a, int64_t first, int64_t last) const {
    Scratch scratch;
    float* hidden = scratch.take<float>(f_.attention == nullptr ? kTile * f_.hidden / f_.groups : 0);
    if (scratch.failed) return kOutOfMemory;
    for (int64_t t = first; t < last; ++t) {
      const int64_t begin = tile_begin(t), count = tile_begin(t + 1) - begin;
      if (count == 0) continue;
      if constexpr (std::is_same<T, float>::value)
        if (f_.attention == nullptr) project(a, begin, count, hidden);
      moments(a, t, begin, count);
    }
    return kDone;
  }

  // The two convolutions of the attention, and that of the value.
  void project(const Image& a, int64_t begin, int64_t count, float* hidden) const {
    const int64_t c = f_.channels, width = c / f_.groups, own_hidden = f_.hidden / f_.groups;
    const int64_t own_weights = weights_ / f_.groups;
    for (int64_t b = 0; b < f_.groups; ++b) {
      const Input inputs[] = {{a.x + begin * c + b * width, c, width}, {a.static_context + begin * c + b * width, c, width}};
      const Input inner{hidden, own_hidden, own_hidden};
      multiply_tile(inputs, 2, count, panels(f_.reduce, b, own_hidden, 2 * width), bias(f_.reduce_bias, b, own_hidden),
                    own_hidden, true, hidden, own_hidden);
      multiply_tile(&inner, 1, count, panels(f_.expand, b, own_weights, own_hidden),
                    bias(f_.expand_bias, b, own_weights), own_weights, false,
                    a.own_attention + begin * weights_ + b * own_weights, weights_);
      multiply_tile(inputs, 1, count, panels(f_.project, b, width, width), bias(f_.project_bias, b, width), width, false,
                    a.own_value + begin * c + b * width, c);
    }
  }
  static const float* panels(const void* all, int64_t group, int64_t columns, int64_t channels) {
    return static_cast<const float*>(all) + group * ((columns + kPanel - 1) / kPanel * kPanel) * channels;
  }
  static const float* bias(const void* all, int64_t group, int64_t columns) {
    return static_cast<const float*>(all) + group * columns;
  }

  // Mean of each channel of the attention over a tile, and the sum of squares around it.
  void moments(const Image& a, int64_t tile, int64_t begin, int64_t count) const {
    const T* attention = a.attention + begin * weights_;
    float *mean = a.mean + tile * weights_, *square = a.square + tile * weights_;
    over_weights([&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
      const auto sum_over_pixels = [&](const auto& term) __attribute__((always_inline)) {
        Floats sums[4] = {};  // one alone would wait for itself
        int64_t i = 0;
        for (; i + 4 <= count; i += 4)
          for (int k = 0; k < 4; ++k) sums[k] += term(get(attention + (i + k) * weights_ + e));
        for (; i < count; ++i) sums[0] += term(get(attention + i * weights_ + e));
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
      };
      const Floats middle = sum_over_pixels([](Floats x) __attribute__((always_inline)) { return x; }) / float(count);
      put(mean + e, middle);
      put(square + e, sum_over_pixels([middle](Floats x) __attribute__((always_inline)) {
            return (x - middle) * (x - middle);
          }));
    });
  }

  // As over_vectors, where it does no harm to do elements twice.
  template <class Work> COTNET_INLINE void over_weights(const Work& work) const {
    if (weights_ < kLanes<float>) return over_vectors(weights_, work);
    over_whole_vectors(weights_, [&](int64_t e) __attribute__((always_inline)) { work(e, whole_load, whole_store); });
  }

  // GroupNorm over the taps and pixels of each map, as a factor and a summand for each channel of the attention.
  int normalisation(const Image& a, int64_t first_map, int64_t last_map) const {
    const int64_t maps = f_.maps / f_.groups;
    for (int64_t map = first_map; map < last_map; ++map) {
      const int64_t first = map / maps * taps_ * maps + map % maps;
      const auto over_parts = [&](auto add) {
        for (int64_t tile = 0; tile < tiles_; ++tile) {
          const int64_t count = tile_begin(tile + 1) - tile_begin(tile);
          for (int64_t t = 0; count > 0 && t < taps_; ++t) add(tile * weights_ + first + t * maps, double(count));
        }
      };
      const double all = double(pixels_ * taps_);
      double mean = 0, squares = 0;
      over_parts([&](int64_t e, double count) { mean += a.mean[e] * count / all; });
      over_parts([&](int64_t e, double count) {
        squares += a.square[e] + count * (a.mean[e] - mean) * (a.mean[e] - mean);
      });
      const double factor = 1 / std::sqrt(squares / all + f_.eps);
      for (int64_t t = 0; t < taps_; ++t) {
        const int64_t e = first + t * maps;
        const double scale = widen(at<T>(f_.norm_weight, e)[0]) * factor;
        a.scale[e] = float(scale), a.offset[e] = float(widen(at<T>(f_.norm_bias, e)[0]) - mean * scale);
      }
    }
    return kDone;
  }

  // Rows first to last of the dynamic context, and the sums of both contexts over them.
  int rows(const Image& a, int64_t first, int64_t last) const {
    const Runs& runs = spread_.runs();
    const int64_t together = pixels_together<T>(p_, taps_), pixel = f_.groups * taps_ * runs.maps;
    Scratch scratch;
    ValueWindow<T> reads(scratch, p_);
    Window<T> window{reads.x, scratch.take<const T*>(taps_), 0, 0, taps_ * runs.maps};
    T* weights = scratch.take<T>(together * weights_);
    T* as_read = spread_.needed ? scratch.take<T>(together * pixel) : weights;
    if (scratch.failed) return kOutOfMemory;
    for (int64_t t = 0; t < taps_; ++t) window.w[t] = as_read + t * runs.maps;

    for (int64_t i = first; i < last; ++i) {
      float* sums = a.sums + i * f_.channels;
      memset(sums, 0, size_t(f_.channels) * sizeof *sums);
      reads.start_row(a.value, i);
      for (int64_t begin = 0; begin < f_.width; begin += together) {
        const int64_t end = begin + together < f_.width ? begin + together : f_.width;
        normalise(a, i * f_.width + begin, end - begin, weights);
        if (spread_.needed) spread_(as_read, weights, (end - begin) * f_.groups * taps_);
        for (int64_t j = begin; j < end; ++j) {
          const int64_t at_pixel = (i * f_.width + j) * f_.channels;
          reads.move_to(j);
          window.x_at = reads.at, window.w_at = (j - begin) * pixel;
          sum_(runs, a.out + at_pixel, window, taps_);
          activate(a.out + at_pixel, a.static_context + at_pixel, sums);
        }
      }
    }
    return kDone;
  }

  void normalise(const Image& a, int64_t begin, int64_t count, T* weights) const {
    for (int64_t i = 0; i < count; ++i) {
      const T* from = a.attention + (begin + i) * weights_;
      T* to = weights + i * weights_;
      over_weights([&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
        put(to + e, get(from + e) * get(a.scale + e) + get(a.offset + e));
      });
    }
  }

  // One pixel of the dynamic context, in place.
  void activate(T* dynamic, const T* static_context, float* sums) const {
    const T* bias = at<T>(f_.dynamic_bias, 0);
    over_vectors(f_.channels, [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
      const Floats y = silu(get(dynamic + c) + get(bias + c));
      put(dynamic + c, y);
      put(sums + c, get(sums + c) + y + get(static_context + c));
    });
  }

  int pool(const Image& a) const {
    for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] = 0;
    for (int64_t i = 0; i < f_.height; ++i)
      for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] += a.sums[i * f_.channels + e];
    for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] /= float(pixels_);
    return kDone;
  }

  // Rows first to last of each of the fusion's two convolutions.
  int squeeze(const Image& a, int64_t first, int64_t last) const {
    for (int64_t r = first; r < last; ++r) {
      const float y = row_times(f_.squeeze, f_.squeeze_bias, r, a.pooled, f_.channels);
      a.squeezed[r] = y > 0 ? y : 0;
    }
    return kDone;
  }
  int excite(const Image& a, int64_t first, int64_t last) const {
    for (int64_t r = first; r < last; ++r)
      a.share[r] = row_times(f_.excite, f_.excite_bias, r, a.squeezed, f_.squeezed);
    over_vectors(last - first, [&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
      put(a.share + first + e, sigmoid(get(a.share + first + e)));
    });
    return kDone;
  }
  static float row_times(const void* matrix, const void* bias, int64_t row, const float* x, int64_t columns) {
    const T* weights = at<T>(matrix, row * columns);
    Floats sum{};
    over_vectors(columns, [&](int64_t e, const auto& get, const auto&) __attribute__((always_inline)) {
      sum += get(weights + e) * get(x + e);
    });
    return widen(at<T>(bias, row)[0]) + sum_lanes(sum);
  }

  // The mixture, and the norm behind the layer if there is one.
  int mix(const Image& a, int64_t first, int64_t last) const {
    const T *scale = at<T>(f_.out_scale, 0), *bias = at<T>(f_.out_bias, 0);
    for (int64_t i = first * f_.width; i < last * f_.width; ++i) {
      T* out = a.out + i * f_.channels;
      const T* still = a.static_context + i * f_.channels;
      over_vectors(f_.channels, [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
        const Floats s = get(still + c);
        Floats y = s + get(a.share + c) * (get(out + c) - s);
        if (scale != nullptr) y = y * get(scale + c) + get(bias + c);
        put(out + c, y);
      });
    }
    return kDone;
  }

  const FusedProblem& f_;
  const int64_t taps_, weights_, pixels_, tiles_;
  const Problem p_;
  const Spread<T> spread_;
  const SumTaps<T> sum_ = sum_taps_for<T>(spread_.runs(), taps_);
};

}  // namespace
