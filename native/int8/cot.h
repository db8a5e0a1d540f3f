// A CoT layer for inference with bytes for maps, in the steps of fused_cot/fused_cot.h:
//
// 1. the static context, a convolution in integers, to bytes;
// 2. by tiles of pixels, in integers, the attention's hidden channels to bytes, the attention and the value to floats, and
//    the moments of the attention;
// 3. by rows, in floats, the normalised attention, the aggregation, SiLU, and the sums for the fusion;
// 4. the shares of the fusion;
// 5. the mixture of dynamic and static context, to bytes.
#pragma once

#include <cmath>

#include "../aggregate/nhwc_pixel.h"
#include "../aggregate/row_weights.h"
#include "../aggregate/window.h"
#include "../fused_cot/expand_heads.h"
#include "conv.h"

namespace {

class Int8Cot {
 public:
  explicit Int8Cot(const Int8CotProblem& f)
      : f_(f),
        taps_(f.kernel_size * f.kernel_size),
        weights_(taps_ * f.heads),
        pixels_(f.height * f.width),
        tiles_(2 * ((pixels_ + 2 * kTilePixels - 1) / (2 * kTilePixels))),
        p_(window_problem()),
        expand_(HeadPattern::of<float>(p_)) {}

  int run() const {
    const int64_t num_threads = f_.batch * pixels_ * f_.channels < (1 << 14) ? 1 : f_.num_threads;
    if (f_.batch % num_threads == 0 || f_.batch >= 4 * num_threads)
      return parallel_for(num_threads, f_.batch, [&](int64_t begin, int64_t end) {
        int status = kOk;
        for (int64_t n = begin; n < end && status == kOk; ++n) status = whole(n);
        return status;
      });

    // Too few images to go round: all of them take each step together.
    const int64_t bytes = image_bytes();
    const uintptr_t memory = workspace<kLayer>().reserve(f_.batch * bytes);
    if (memory == 0) return kOutOfMemory;
    const auto image_at = [&](int64_t n) {
      BumpAllocator piece{memory + uintptr_t(n * bytes)};
      return image(n, piece);
    };
    const auto in_parts = [&](int64_t parts, auto step) {
      return parallel_for(num_threads, f_.batch * parts, [&](int64_t begin, int64_t end) {
        int status = kOk;
        for (int64_t at = begin; at < end && status == kOk;) {
          const int64_t n = at / parts, last = (n + 1) * parts < end ? (n + 1) * parts : end;
          status = step(image_at(n), at - n * parts, last - n * parts);
          at = last;
        }
        return status;
      });
    };
    int status = kOk;
    for (int64_t n = 0; n < f_.batch && status == kOk; ++n) status = static_context(image_at(n), num_threads);
    if (status == kOk)
      status = in_parts(tiles_, [&](const Image& a, int64_t first, int64_t last) { return tiles(a, first, last); });
    if (status == kOk)
      status = in_parts(f_.heads, [&](const Image& a, int64_t first, int64_t last) { return normalization(a, first, last); });
    if (status == kOk)
      status = in_parts(f_.height, [&](const Image& a, int64_t first, int64_t last) { return rows(a, first, last); });
    if (status == kOk) status = in_parts(1, [&](const Image& a, int64_t, int64_t) { return fusion(a); });
    if (status == kOk)
      status = in_parts(f_.height, [&](const Image& a, int64_t first, int64_t last) { return mix(a, first, last); });
    return status;
  }

 private:
  static constexpr int64_t kTilePixels = 96;  // pixels, at the most; an even number of tiles goes round

  struct Image {
    const uint8_t* x;
    uint8_t *static_context, *out;
    float *attention, *value;
    float* dynamic;         // of a pixel where its attention was if there is room, which it takes the place of
    int64_t dynamic_pixel;  // from one pixel to the next
    float *mean, *square;   // moments of the attention: [tiles][weights]
    float *scale, *offset;  // normalise it: [weights]
    float* sums;            // of dynamic and static context over a row: [H][C]
    float *pooled, *squeezed;  // of the fusion: [C], [squeezed]
    float* share;              // of the dynamic context: [C]
  };

  // Of the windows that the aggregation reads: stride 1, dense maps.
  AggregateProblem window_problem() const {
    const int64_t c = f_.channels, w = f_.width * c, h = f_.height * w;
    AggregateProblem p{};
    p.dtype = kFloat32, p.num_threads = f_.num_threads;
    p.kernel_size = f_.kernel_size, p.stride = 1, p.dilation = f_.dilation, p.groups = f_.groups;
    p.batch = f_.batch, p.channels = c, p.heads = f_.heads;
    p.height = p.out_h = f_.height, p.width = p.out_w = f_.width;
    const int64_t strides[4] = {h, 1, w, c};
    memcpy(p.value_strides, strides, sizeof strides);
    memcpy(p.out_strides, strides, sizeof strides);
    return p;
  }

  Image image(int64_t n, BumpAllocator& memory) const {
    const int64_t first = n * pixels_ * f_.channels;
    Image a{};
    a.x = f_.x + first, a.out = f_.out + first;
    a.static_context = memory.take<uint8_t>(pixels_ * f_.channels);
    a.attention = memory.take<float>(pixels_ * weights_), a.value = memory.take<float>(pixels_ * f_.channels);
    const bool room = weights_ >= f_.channels;
    a.dynamic = room ? a.attention : memory.take<float>(pixels_ * f_.channels);
    a.dynamic_pixel = room ? weights_ : f_.channels;
    a.mean = memory.take<float>(tiles_ * weights_), a.square = memory.take<float>(tiles_ * weights_);
    a.scale = memory.take<float>(weights_), a.offset = memory.take<float>(weights_);
    a.sums = memory.take<float>(f_.height * f_.channels), a.share = memory.take<float>(f_.channels);
    a.pooled = memory.take<float>(f_.channels), a.squeezed = memory.take<float>(f_.squeezed);
    return a;
  }
  int64_t image_bytes() const {
    BumpAllocator counter{0};
    image(0, counter);
    return counter.used;
  }

  int whole(int64_t n) const {
    BumpAllocator memory{workspace<kLayer>().reserve(image_bytes())};
    if (memory.base == 0) return kOutOfMemory;
    const Image a = image(n, memory);
    int status = static_context(a, 1);
    if (status == kOk) status = tiles(a, 0, tiles_);
    if (status == kOk) status = normalization(a, 0, f_.heads);
    if (status == kOk) status = rows(a, 0, f_.height);
    if (status == kOk) status = fusion(a);
    return status == kOk ? mix(a, 0, f_.height) : status;
  }

  int static_context(const Image& a, int64_t num_threads) const {
    Int8ConvProblem c{};
    c.num_threads = num_threads, c.batch = 1, c.in_channels = c.out_channels = f_.channels, c.groups = f_.static_groups;
    c.height = c.out_h = f_.height, c.width = c.out_w = f_.width;
    c.kernel_h = c.kernel_w = f_.kernel_size, c.stride_h = c.stride_w = 1;
    c.dilation_h = c.dilation_w = f_.dilation, c.padding_h = c.padding_w = f_.kernel_size / 2 * f_.dilation;
    c.in_zero = f_.in_zero, c.x = a.x, c.bytes = a.static_context;
    c.weights = f_.static_weights, c.bias = f_.static_bias, c.multiplier = f_.static_multiplier;
    return Int8Conv(c).run();
  }

  int64_t tile_begin(int64_t tile) const { return pixels_ * tile / tiles_; }

  int tiles(const Image& a, int64_t first, int64_t last) const {
    const int64_t own = f_.channels / f_.groups, hidden = f_.hidden / f_.groups;
    Scratch scratch;
    uint8_t* inner = scratch.take<uint8_t>(kTilePixels * whole_fours(hidden));
    // Where the channels of a group are no whole fours, or it does not begin at one.
    uint8_t* copies = own % 4 == 0 ? nullptr : scratch.take<uint8_t>(2 * kTilePixels * whole_fours(own));
    if (scratch.failed) return kOutOfMemory;
    for (int64_t t = first; t < last; ++t) {
      const int64_t begin = tile_begin(t), count = tile_begin(t + 1) - begin;
      if (count == 0) continue;
      project(a, begin, count, inner, copies);
      moments(a, t, begin, count);
    }
    return kOk;
  }

  // The two convolutions of the attention, and that of the value.
  void project(const Image& a, int64_t begin, int64_t count, uint8_t* inner, uint8_t* copies) const {
    const int64_t c = f_.channels, own = c / f_.groups, hidden = f_.hidden / f_.groups, weights = weights_ / f_.groups;
    const int64_t wide = whole_fours(own), inner_wide = whole_fours(hidden);
    for (int64_t b = 0; b < f_.groups; ++b) {
      const uint8_t *x = a.x + begin * c + b * own, *context = a.static_context + begin * c + b * own;
      int64_t pixel = c;
      if (copies != nullptr) {
        for (int64_t i = 0; i < count; ++i) {
          memcpy(copies + i * wide, x + i * c, size_t(own));
          memcpy(copies + (kTilePixels + i) * wide, context + i * c, size_t(own));
        }
        x = copies, context = copies + kTilePixels * wide, pixel = wide;
      }
      const ByteInput inputs[] = {{x, pixel, wide}, {context, pixel, wide}};
      const ByteInput hidden_input{inner, inner_wide, inner_wide};
      Finish f{};
      f.bias = f_.reduce_bias + b * hidden, f.multiplier = f_.reduce_multiplier + b * hidden, f.channels = hidden;
      f.bytes = inner, f.pixel = inner_wide;
      multiply_byte_tile(inputs, 2, count, panels(f_.reduce, b, hidden, 2 * wide), f);

      f = Finish{};
      f.bias = f_.expand_bias + b * weights, f.multiplier = f_.expand_multiplier + b * weights, f.channels = weights;
      f.floats = a.attention + begin * weights_ + b * weights, f.pixel = weights_;
      multiply_byte_tile(&hidden_input, 1, count, panels(f_.expand, b, weights, inner_wide), f);

      f = Finish{};
      f.bias = f_.project_bias + b * own, f.multiplier = f_.project_multiplier + b * own, f.channels = own;
      f.floats = a.value + begin * c + b * own, f.pixel = c;
      multiply_byte_tile(inputs, 1, count, panels(f_.project, b, own, wide), f);
    }
  }
  static const int8_t* panels(const int8_t* all, int64_t group, int64_t columns, int64_t channels) {
    return all + group * ceil_div(columns, kPanelWidth) * kPanelWidth * channels;
  }

  // Mean of each channel of the attention over a tile, and the sum of squares around it.
  void moments(const Image& a, int64_t tile, int64_t begin, int64_t count) const {
    const float* attention = a.attention + begin * weights_;
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
      put(square + e, sum_over_pixels([middle](Floats x) __attribute__((always_inline)) {
            return (x - middle) * (x - middle);
          }));
    });
  }

  // As for_each_vector, where it does no harm to do elements twice.
  template <class Work> COTNET_INLINE void for_each_weight(const Work& work) const {
    if (weights_ < kLanes<float>) return for_each_vector(weights_, work);
    for_each_whole_vector(weights_, [&](int64_t e) __attribute__((always_inline)) { work(e, whole_load, whole_store); });
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
      for_each_part([&](int64_t e, double count) {
        squares += a.square[e] + count * (a.mean[e] - mean) * (a.mean[e] - mean);
      });
      const double factor = 1 / std::sqrt(squares / all + f_.eps);
      for (int64_t t = 0; t < taps_; ++t) {
        const int64_t e = first + t * heads;
        const double scale = double(f_.norm_weight[e]) * factor;
        a.scale[e] = float(scale), a.offset[e] = float(f_.norm_bias[e] - mean * scale);
      }
    }
    return kOk;
  }

  // Rows first to last of the dynamic context, and the sums of both contexts over them.
  int rows(const Image& a, int64_t first, int64_t last) const {
    const HeadPattern& pattern = expand_.pattern();
    const int64_t chunk = pixels_per_chunk<float>(p_, taps_), pixel = f_.groups * taps_ * pattern.heads;
    Scratch scratch;
    InputWindow<float> window(scratch, p_);
    TapOperands<float> in{window.x, scratch.take<const float*>(taps_), 0, 0, taps_ * pattern.heads};
    float* weights = scratch.take<float>(chunk * weights_);
    float* as_read = expand_.needed ? scratch.take<float>(chunk * pixel) : weights;
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
          const int64_t at = i * f_.width + j;
          float* dynamic = a.dynamic + at * a.dynamic_pixel;
          window.move_to(j);
          in.x_offset = window.offset, in.w_offset = (j - begin) * pixel;
          aggregate_pixel_(pattern, dynamic, in, taps_);
          activate(dynamic, a.static_context + at * f_.channels, sums);
        }
      }
    }
    return kOk;
  }

  void normalize(const Image& a, int64_t begin, int64_t count, float* weights) const {
    for (int64_t i = 0; i < count; ++i) {
      const float* from = a.attention + (begin + i) * weights_;
      float* to = weights + i * weights_;
      for_each_weight([&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
        put(to + e, get(from + e) * get(a.scale + e) + get(a.offset + e));
      });
    }
  }

  // A vector of the static context from channel c on, times its scale.
  COTNET_INLINE static Floats static_at(const uint8_t* at, int64_t left, float scale) {
    return to_floats(widen_bytes(left >= kLanes<float> ? load_bytes(at) : load_bytes(at, left))) * scale;
  }

  // One pixel of the dynamic context, in place.
  void activate(float* dynamic, const uint8_t* context, float* sums) const {
    const float* bias = f_.dynamic_bias;
    const float scale = float(f_.static_scale);
    const int64_t channels = f_.channels;
    for_each_vector(channels, [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
      const Floats y = silu(get(dynamic + c) + get(bias + c));
      put(dynamic + c, y);
      put(sums + c, get(sums + c) + y + static_at(context + c, channels - c, scale));
    });
  }

  // The share of the dynamic context in each channel.
  int fusion(const Image& a) const {
    for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] = 0;
    for (int64_t i = 0; i < f_.height; ++i)
      for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] += a.sums[i * f_.channels + e];
    for (int64_t e = 0; e < f_.channels; ++e) a.pooled[e] /= float(pixels_);
    for (int64_t r = 0; r < f_.squeezed; ++r) {
      const float y = row_times(f_.squeeze, f_.squeeze_bias, r, a.pooled, f_.channels);
      a.squeezed[r] = y > 0 ? y : 0;
    }
    for (int64_t r = 0; r < f_.channels; ++r) a.share[r] = row_times(f_.excite, f_.excite_bias, r, a.squeezed, f_.squeezed);
    for_each_vector(f_.channels, [&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
      put(a.share + e, sigmoid(get(a.share + e)));
    });
    return kOk;
  }
  static float row_times(const float* matrix, const float* bias, int64_t row, const float* x, int64_t columns) {
    const float* weights = matrix + row * columns;
    Floats sum{};
    for_each_vector(columns, [&](int64_t e, const auto& get, const auto&) __attribute__((always_inline)) {
      sum += get(weights + e) * get(x + e);
    });
    return bias[row] + sum_lanes(sum);
  }

  // The mixture, and the norm behind the layer if there is one.
  int mix(const Image& a, int64_t first, int64_t last) const {
    const float *factor = f_.out_scale, *bias = f_.out_bias, *share = a.share;
    const float static_scale = float(f_.static_scale), multiplier = float(f_.out_multiplier);
    const ToBytes to_bytes(int32_t(f_.out_zero), 0);
    const int64_t channels = f_.channels;
    for (int64_t i = first * f_.width; i < last * f_.width; ++i) {
      uint8_t* out = a.out + i * channels;
      const uint8_t* context = a.static_context + i * channels;
      const float* dynamic = a.dynamic + i * a.dynamic_pixel;
      for_each_vector(channels, [&](int64_t c, const auto& get, const auto&) __attribute__((always_inline)) {
        const int64_t left = channels - c;
        const Floats s = static_at(context + c, left, static_scale);
        Floats y = s + get(share + c) * (get(dynamic + c) - s);
        if (factor != nullptr) y = y * get(factor + c) + get(bias + c);
        const LaneBytes bytes = to_bytes(y * multiplier);
        memcpy(out + c, &bytes, left >= kLanes<float> ? sizeof bytes : size_t(left));
      });
    }
    return kOk;
  }

  const Int8CotProblem& f_;
  const int64_t taps_, weights_, pixels_, tiles_;
  const AggregateProblem p_;
  const HeadExpander<float> expand_;
  const AggregatePixel<float> aggregate_pixel_ = aggregate_pixel_for<float>(expand_.pattern(), taps_);
};

}  // namespace
