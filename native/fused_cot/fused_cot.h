// A CoT layer for inference, in steps whose results are still in the cache for the next:
//
// 1. the static context, a convolution, where it is not given;
// 2. by tiles of pixels the attention and the value, where they are not given, and the moments of the attention;
// 3. by rows the normalized attention, the aggregation, SiLU, and the sums for the fusion;
// 4. the shares of the fusion;
// 5. the mixture of dynamic and static context.
#pragma once

#include <cmath>
#include <type_traits>

#include "../aggregate/nhwc_pixel.h"
#include "../aggregate/row_weights.h"
#include "../aggregate/window.h"
#include "../conv3x3/conv3x3.h"
#include "../conv3x3/panel_gemm.h"
#include "../runtime/parallel.h"
#include "expand_heads.h"

namespace {

template <class T> class FusedCot {
 public:
  explicit FusedCot(const FusedCotProblem& f)
      : f_(f),
        taps_(f.kernel_size * f.kernel_size),
        weights_(taps_ * f.heads),
        pixels_(f.height * f.width),
        tiles_(2 * ((pixels_ + 2 * kTilePixels - 1) / (2 * kTilePixels))),
        p_(window_problem()),
        expand_(HeadPattern::of<T>(p_)),
        steps_{{tiles_, &FusedCot::project_tiles}, {f.heads, &FusedCot::normalization},
               {f.height, &FusedCot::rows},        {1, &FusedCot::pool},
               {f.squeezed, &FusedCot::squeeze},   {f.channels, &FusedCot::excite},
               {f.height, &FusedCot::mix}} {}

  int run() const {
    const int64_t num_threads = f_.batch * pixels_ * f_.channels < (1 << 14) ? 1 : f_.num_threads;
    const bool by_images = f_.batch % num_threads == 0 || f_.batch >= 4 * num_threads;
    const float* contexts = nullptr;
    if constexpr (kMakesContext) {
      // Weights that would push an image's maps out of the cache are read once for all images.
      const Conv3x3Problem all = static_problem(num_threads);
      if (f_.static_context == nullptr && (!by_images || COTNET_ISA::conv3x3_weights(all) > pixels_ * f_.channels))
        if (const int status = static_contexts(all, &contexts); status != kOk) return status;
    }
    return by_images ? run_by_images(num_threads, contexts) : run_by_steps(num_threads, contexts);
  }

 private:
  static constexpr int64_t kTilePixels = 96;  // at the most; an even number of tiles goes round
  static constexpr bool kMakesContext = std::is_same<T, float>::value;

  struct Image {
    const T *x, *static_context, *attention, *value;
    T *made_context, *made_attention, *made_value;  // the same, where they are made here
    T* out;
    float *mean, *square;      // moments of the attention: [tiles][weights]
    float *scale, *offset;     // normalize it: [weights]
    float* sums;               // of dynamic and static context over a row: [H][C]
    float *pooled, *squeezed;  // of the fusion: [C], [squeezed]
    float* share;              // of the dynamic context: [C]
  };

  // What is done to an image, in parts that do not depend on one another.
  struct Step {
    int64_t parts;
    int (FusedCot::*run)(const Image&, int64_t first, int64_t last) const;
  };

  // Each image by one thread.
  int run_by_images(int64_t num_threads, const float* contexts) const {
    return parallel_for(num_threads, f_.batch, [&](int64_t begin, int64_t end) {
      int status = kOk;
      for (int64_t n = begin; n < end && status == kOk; ++n) status = run_image(n, contexts);
      return status;
    });
  }

  // Too few images to go round: all threads take each step together.
  int run_by_steps(int64_t num_threads, const float* contexts) const {
    const int64_t bytes = image_bytes(contexts);
    const uintptr_t memory = workspace<kLayer>().reserve(f_.batch * bytes);
    if (memory == 0) return kOutOfMemory;
    for (const Step& step : steps_) {
      const int status = parallel_for(num_threads, f_.batch * step.parts, [&](int64_t begin, int64_t end) {
        int status = kOk;
        for (int64_t at = begin; at < end && status == kOk;) {
          const int64_t n = at / step.parts, first = n * step.parts, last = first + step.parts;
          BumpAllocator of_image{memory + uintptr_t(n * bytes)};
          status = (this->*step.run)(image(n, of_image, contexts), at - first, (last < end ? last : end) - first);
          at = last;
        }
        return status;
      });
      if (status != kOk) return status;
    }
    return kOk;
  }

  int run_image(int64_t n, const float* contexts) const {
    BumpAllocator memory{workspace<kLayer>().reserve(image_bytes(contexts))};
    if (memory.base == 0) return kOutOfMemory;
    const Image a = image(n, memory, contexts);
    int status = kOk;
    if constexpr (kMakesContext)
      if (a.made_context != nullptr) {
        Conv3x3Problem conv = static_problem(1);
        conv.batch = 1, conv.x = a.x, conv.out = a.made_context;
        status = COTNET_ISA::conv3x3(conv);
      }
    for (const Step& step : steps_)
      if (status == kOk) status = (this->*step.run)(a, 0, step.parts);
    return status;
  }

  // Of the windows that the aggregation reads: stride 1, dense maps.
  AggregateProblem window_problem() const {
    const int64_t c = f_.channels, w = f_.width * c, h = f_.height * w;
    AggregateProblem p{};
    p.dtype = f_.dtype, p.num_threads = f_.num_threads;
    p.kernel_size = f_.kernel_size, p.stride = 1, p.dilation = f_.dilation, p.groups = f_.groups;
    p.batch = f_.batch, p.channels = c, p.heads = f_.heads;
    p.height = p.out_h = f_.height, p.width = p.out_w = f_.width;
    const int64_t strides[4] = {h, 1, w, c};
    memcpy(p.value_strides, strides, sizeof strides);
    memcpy(p.out_strides, strides, sizeof strides);
    return p;
  }

  template <class E> static E* at(const void* map, int64_t elements) {
    return map == nullptr ? nullptr : static_cast<E*>(const_cast<void*>(map)) + elements;
  }

  // The convolution that makes the static context of all images.
  Conv3x3Problem static_problem(int64_t num_threads) const {
    return {num_threads,
            f_.batch,
            f_.channels,
            f_.channels,
            f_.static_groups,
            f_.height,
            f_.width,
            1,
            at<float>(f_.x, 0),
            at<float>(f_.static_weights, 0),
            at<float>(f_.static_bias, 0),
            nullptr};
  }
  int static_contexts(Conv3x3Problem conv, const float** out) const {
    BumpAllocator counter{0};
    counter.take<float>(f_.batch * pixels_ * f_.channels);
    BumpAllocator memory{workspace<kStaticContext>().reserve(counter.used)};
    if (memory.base == 0) return kOutOfMemory;
    *out = conv.out = memory.take<float>(f_.batch * pixels_ * f_.channels);
    return COTNET_ISA::conv3x3(conv);
  }

  // Its static context is given, or among all images' `contexts`, or still to be made.
  Image image(int64_t n, BumpAllocator& memory, const void* contexts) const {
    const int64_t first = n * pixels_ * f_.channels;
    Image a{};
    a.x = at<T>(f_.x, first), a.out = at<T>(f_.out, first);
    if (contexts == nullptr) contexts = f_.static_context;
    if (contexts != nullptr) a.static_context = at<T>(contexts, first);
    else a.static_context = a.made_context = memory.take<T>(pixels_ * f_.channels);
    if (f_.attention == nullptr) {
      a.attention = a.made_attention = memory.take<T>(pixels_ * weights_);
      a.value = a.made_value = memory.take<T>(pixels_ * f_.channels);
    } else {
      a.attention = at<T>(f_.attention, n * pixels_ * weights_), a.value = at<T>(f_.value, first);
    }
    a.mean = memory.take<float>(tiles_ * weights_), a.square = memory.take<float>(tiles_ * weights_);
    a.scale = memory.take<float>(weights_), a.offset = memory.take<float>(weights_);
    a.sums = memory.take<float>(f_.height * f_.channels), a.share = memory.take<float>(f_.channels);
    a.pooled = memory.take<float>(f_.channels), a.squeezed = memory.take<float>(f_.squeezed);
    return a;
  }

  int64_t image_bytes(const void* contexts) const {
    BumpAllocator counter{0};
    image(0, counter, contexts);
    return counter.used;
  }

  int64_t tile_begin(int64_t tile) const { return pixels_ * tile / tiles_; }

  int project_tiles(const Image& a, int64_t first, int64_t last) const {
    Scratch scratch;
    float* hidden = scratch.take<float>(f_.attention == nullptr ? kTilePixels * f_.hidden / f_.groups : 0);
    if (scratch.failed) return kOutOfMemory;
    for (int64_t t = first; t < last; ++t) {
      const int64_t begin = tile_begin(t), count = tile_begin(t + 1) - begin;
      if (count == 0) continue;
      if constexpr (kMakesContext)
        if (f_.attention == nullptr) project(a, begin, count, hidden);
      moments(a, t, begin, count);
    }
    return kOk;
  }

  // The two convolutions of the attention, and that of the value.
  void project(const Image& a, int64_t begin, int64_t count, float* hidden) const {
    using COTNET_ISA::GemmInput, COTNET_ISA::multiply_panels;
    // All of a group.
    const int64_t c = f_.channels, channels = c / f_.groups, hiddens = f_.hidden / f_.groups;
    const int64_t weights = weights_ / f_.groups;
    for (int64_t b = 0; b < f_.groups; ++b) {
      const int64_t first = begin * c + b * channels;
      const GemmInput inputs[] = {{a.x + first, c, channels}, {a.static_context + first, c, channels}};
      const GemmInput inner{hidden, hiddens, hiddens};
      multiply_panels(inputs, 2, count, panels(f_.reduce, b, hiddens, 2 * channels), bias(f_.reduce_bias, b, hiddens),
                      hiddens, true, hidden, hiddens);
      multiply_panels(&inner, 1, count, panels(f_.expand, b, weights, hiddens), bias(f_.expand_bias, b, weights),
                      weights, false, a.made_attention + begin * weights_ + b * weights, weights_);
      multiply_panels(inputs, 1, count, panels(f_.project, b, channels, channels), bias(f_.project_bias, b, channels),
                      channels, false, a.made_value + first, c);
    }
  }
  static const float* panels(const void* all, int64_t group, int64_t outputs, int64_t inputs) {
    return static_cast<const float*>(all) + group * ((outputs + kPanelWidth - 1) / kPanelWidth * kPanelWidth) * inputs;
  }
  static const float* bias(const void* all, int64_t group, int64_t outputs) {
    return static_cast<const float*>(all) + group * outputs;
  }

  // Mean of each channel of the attention over a tile, and the sum of squares around it.
  void moments(const Image& a, int64_t tile, int64_t begin, int64_t count) const {
    const T* attention = a.attention + begin * weights_;
    float *mean = a.mean + tile * weights_, *square = a.square + tile * weights_;
    for_each_weight([&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
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
      put(square + e,
          sum_over_pixels([middle](Floats x) __attribute__((always_inline)) { return (x - middle) * (x - middle); }));
    });
  }

  // As for_each_vector, where it does no harm to do elements twice.
  template <class Body> COTNET_INLINE void for_each_weight(const Body& body) const {
    if (weights_ < kLanes<float>) return for_each_vector(weights_, body);
    for_each_whole_vector(weights_,
                          [&](int64_t e) __attribute__((always_inline)) { body(e, whole_load, whole_store); });
  }

  // GroupNorm over the taps and pixels of each head, as a factor and a summand for each channel of the attention.
  int normalization(const Image& a, int64_t first_head, int64_t last_head) const {
    const int64_t heads = f_.heads / f_.groups;
    for (int64_t head = first_head; head < last_head; ++head) {
      const int64_t first = head / heads * taps_ * heads + head % heads;
      const auto for_each_part = [&](auto add) {
        for (int64_t tile = 0; tile < tiles_; ++tile) {
          const int64_t count = tile_begin(tile + 1) - tile_begin(tile);
          for (int64_t t = 0; count > 0 && t < taps_; ++t) add(tile * weights_ + first + t * heads, double(count));
        }
      };
      const double all = double(pixels_ * taps_);
      double mean = 0, squares = 0;
      for_each_part([&](int64_t e, double count) { mean += a.mean[e] * count / all; });
      for_each_part(
          [&](int64_t e, double count) { squares += a.square[e] + count * (a.mean[e] - mean) * (a.mean[e] - mean); });
      const double factor = 1 / std::sqrt(squares / all + f_.eps);
      for (int64_t t = 0; t < taps_; ++t) {
        const int64_t e = first + t * heads;
        const double scale = widen(at<T>(f_.norm_weight, e)[0]) * factor;
        a.scale[e] = float(scale), a.offset[e] = float(widen(at<T>(f_.norm_bias, e)[0]) - mean * scale);
      }
    }
    return kOk;
  }

  // Rows first to last of the dynamic context, and the sums of both contexts over them.
  int rows(const Image& a, int64_t first, int64_t last) const {
    const HeadPattern& pattern = expand_.pattern();
    const int64_t chunk = pixels_per_chunk<T>(p_, taps_), pixel = f_.groups * taps_ * pattern.heads;
    Scratch scratch;
    InputWindow<T> window(scratch, p_);
    TapOperands<T> in{window.x, scratch.take<const T*>(taps_), 0, 0, taps_ * pattern.heads};
    T* weights = scratch.take<T>(chunk * weights_);
    T* as_read = expand_.needed ? scratch.take<T>(chunk * pixel) : weights;
    if (scratch.failed) return kOutOfMemory;
    for (int64_t t = 0; t < taps_; ++t) in.w[t] = as_read + t * pattern.heads;

    for (int64_t i = first; i < last; ++i) {
      float* sums = a.sums + i * f_.channels;
      memset(sums, 0, size_t(f_.channels) * sizeof *sums);
      window.start_row(a.value, i);
      for (int64_t begin = 0; begin < f_.width; begin += chunk) {
        const int64_t end = begin + chunk < f_.width ? begin + chunk : f_.width;
        normalize(a, i * f_.width + begin, end - begin, weights);
        if (expand_.needed) expand_(as_read, weights, (end - begin) * f_.groups * taps_);
        for (int64_t j = begin; j < end; ++j) {
          const int64_t first_channel = (i * f_.width + j) * f_.channels;
          window.move_to(j);
          in.x_offset = window.offset;
          in.w_offset = (j - begin) * pixel;
          aggregate_pixel_(pattern, a.out + first_channel, in, taps_);
          activate(a.out + first_channel, a.static_context + first_channel, sums);
        }
      }
    }
    return kOk;
  }

  void normalize(const Image& a, int64_t begin, int64_t count, T* weights) const {
    for (int64_t i = 0; i < count; ++i) {
      const T* from = a.attention + (begin + i) * weights_;
      T* to = weights + i * weights_;
      for_each_weight([&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
        put(to + e, get(from + e) * get(a.scale + e) + get(a.offset + e));
      });
    }
  }

  // One pixel of the dynamic context, in place.
  void activate(T* dynamic, const T* static_context, float* sums) const {
    const T* bias = at<T>(f_.dynamic_bias, 0);
    for_each_vector(f_.channels, [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
      const Floats y = silu(get(dynamic + c) + get(bias + c));
      put(dynamic + c, y);
      put(sums + c, get(sums + c) + y + get(static_context + c));
    });
  }

  int pool(const Image& a, int64_t, int64_t) const {
    for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] = 0;
    for (int64_t i = 0; i < f_.height; ++i)
      for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] += a.sums[i * f_.channels + e];
    for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] /= float(pixels_);
    return kOk;
  }

  // Rows first to last of each of the fusion's two convolutions.
  int squeeze(const Image& a, int64_t first, int64_t last) const {
    for (int64_t r = first; r < last; ++r) {
      const float y = row_times(f_.squeeze, f_.squeeze_bias, r, a.pooled, f_.channels);
      a.squeezed[r] = y > 0 ? y : 0;
    }
    return kOk;
  }
  int excite(const Image& a, int64_t first, int64_t last) const {
    for (int64_t r = first; r < last; ++r)
      a.share[r] = row_times(f_.excite, f_.excite_bias, r, a.squeezed, f_.squeezed);
    for_each_vector(last - first, [&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
      put(a.share + first + e, sigmoid(get(a.share + first + e)));
    });
    return kOk;
  }
  static float row_times(const void* matrix, const void* bias, int64_t row, const float* x, int64_t columns) {
    const T* weights = at<T>(matrix, row * columns);
    Floats sum{};
    for_each_vector(columns, [&](int64_t e, const auto& get, const auto&)
                                 __attribute__((always_inline)) { sum += get(weights + e) * get(x + e); });
    return widen(at<T>(bias, row)[0]) + sum_lanes(sum);
  }

  // The mixture, and the norm behind the layer if there is one.
  int mix(const Image& a, int64_t first, int64_t last) const {
    const T *scale = at<T>(f_.out_scale, 0), *bias = at<T>(f_.out_bias, 0);
    for (int64_t i = first * f_.width; i < last * f_.width; ++i) {
      T* out = a.out + i * f_.channels;
      const T* static_context = a.static_context + i * f_.channels;
      for_each_vector(f_.channels, [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
        const Floats s = get(static_context + c);
        Floats y = s + get(a.share + c) * (get(out + c) - s);
        if (scale != nullptr) y = y * get(scale + c) + get(bias + c);
        put(out + c, y);
      });
    }
    return kOk;
  }

  const FusedCotProblem& f_;
  const int64_t taps_, weights_, pixels_, tiles_;
  const AggregateProblem p_;
  const HeadExpander<T> expand_;
  const AggregatePixel<T> aggregate_pixel_ = aggregate_pixel_for<T>(expand_.pattern(), taps_);
  const Step steps_[7];
};

}  // namespace
