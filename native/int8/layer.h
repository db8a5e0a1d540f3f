// A CoT layer for inference with bytes for maps, in the steps of fused_layer.h:
//
// 1. the static context, a convolution in integers, to bytes;
// 2. by tiles of pixels, in integers, the attention's hidden channels to bytes, the attention and the value to floats, and
//    the moments of the attention;
// 3. by rows, in floats, the normalised attention, the aggregation, SiLU, and the sums for the fusion;
// 4. the shares of the fusion;
// 5. the mixture of dynamic and static context, to bytes.
#pragma once

#include <cmath>

#include "../pixel.h"
#include "../spread.h"
#include "../weight_rows.h"
#include "../window.h"
#include "conv.h"

namespace {

class Int8Layer {
 public:
  explicit Int8Layer(const Int8LayerProblem& f)
      : f_(f),
        taps_(f.kernel_size * f.kernel_size),
        weights_(taps_ * f.maps),
        pixels_(f.height * f.width),
        tiles_(2 * ((pixels_ + 2 * kTile - 1) / (2 * kTile))),
        p_(window_problem()),
        spread_(Runs::of<float>(p_)) {}

  int run() const {
    const int64_t threads = f_.batch * pixels_ * f_.channels < (1 << 14) ? 1 : f_.threads;
    if (f_.batch % threads == 0 || f_.batch >= 4 * threads)
      return share_out(threads, f_.batch, [&](int64_t begin, int64_t end) {
        int status = kDone;
        for (int64_t n = begin; n < end && status == kDone; ++n) status = whole(n);
        return status;
      });

    // Too few images to go round: all of them take each step together.
    const int64_t bytes = image_bytes();
    const uintptr_t memory = workspace<kLayer>().reserve(f_.batch * bytes);
    if (memory == 0) return kOutOfMemory;
    const auto image_at = [&](int64_t n) {
      Carver carver{memory + uintptr_t(n * bytes)};
      return image(n, carver);
    };
    const auto in_parts = [&](int64_t parts, auto step) {
      return share_out(threads, f_.batch * parts, [&](int64_t begin, int64_t end) {
        int status = kDone;
        for (int64_t at = begin; at < end && status == kDone;) {
          const int64_t n = at / parts, last = (n + 1) * parts < end ? (n + 1) * parts : end;
          status = step(image_at(n), at - n * parts, last - n * parts);
          at = last;
        }
        return status;
      });
    };
    int status = kDone;
    for (int64_t n = 0; n < f_.batch && status == kDone; ++n) status = static_context(image_at(n), threads);
    if (status == kDone)
      status = in_parts(tiles_, [&](const Image& a, int64_t first, int64_t last) { return tiles(a, first, last); });
    if (status == kDone)
      status = in_parts(f_.maps, [&](const Image& a, int64_t first, int64_t last) { return normalisation(a, first, last); });
    if (status == kDone)
      status = in_parts(f_.height, [&](const Image& a, int64_t first, int64_t last) { return rows(a, first, last); });
    if (status == kDone) status = in_parts(1, [&](const Image& a, int64_t, int64_t) { return fusion(a); });
    if (status == kDone)
      status = in_parts(f_.height, [&](const Image& a, int64_t first, int64_t last) { return mix(a, first, last); });
    return status;
  }

 private:
  static constexpr int64_t kTile = 96;  // pixels, at the most; an even number of tiles goes round

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
  Problem window_problem() const {
    const int64_t c = f_.channels, w = f_.width * c, h = f_.height * w;
    return {kFloat32,  f_.threads, f_.kernel_size, 1,       f_.dilation,  f_.groups,    f_.batch, c, f_.maps,
            f_.height, f_.width,   f_.height,      f_.width, {h, 1, w, c}, {h, 1, w, c}, {}};
  }

  Image image(int64_t n, Carver& carver) const {
    const int64_t first = n * pixels_ * f_.channels;
    Image a{};
    a.x = f_.x + first, a.out = f_.out + first;
    a.static_context = carver.take<uint8_t>(pixels_ * f_.channels);
    a.attention = carver.take<float>(pixels_ * weights_), a.value = carver.take<float>(pixels_ * f_.channels);
    const bool room = weights_ >= f_.channels;
    a.dynamic = room ? a.attention : carver.take<float>(pixels_ * f_.channels);
    a.dynamic_pixel = room ? weights_ : f_.channels;
    a.mean = carver.take<float>(tiles_ * weights_), a.square = carver.take<float>(tiles_ * weights_);
    a.scale = carver.take<float>(weights_), a.offset = carver.take<float>(weights_);
    a.sums = carver.take<float>(f_.height * f_.channels), a.share = carver.take<float>(f_.channels);
    a.pooled = carver.take<float>(f_.channels), a.squeezed = carver.take<float>(f_.squeezed);
    return a;
  }
  int64_t image_bytes() const {
    Carver counter{0};
    image(0, counter);
    return counter.used;
  }

  int whole(int64_t n) const {
    Carver carver{workspace<kLayer>().reserve(image_bytes())};
    if (carver.base == 0) return kOutOfMemory;
    const Image a = image(n, carver);
    int status = static_context(a, 1);
    if (status == kDone) status = tiles(a, 0, tiles_);
    if (status == kDone) status = normalisation(a, 0, f_.maps);
    if (status == kDone) status = rows(a, 0, f_.height);
    if (status == kDone) status = fusion(a);
    return status == kDone ? mix(a, 0, f_.height) : status;
  }

  int static_context(const Image& a, int64_t threads) const {
    Int8ConvProblem c{};
    c.threads = threads, c.batch = 1, c.in_channels = c.out_channels = f_.channels, c.groups = f_.static_groups;
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
    uint8_t* inner = scratch.take<uint8_t>(kTile * whole_fours(hidden));
    // Where the channels of a group are no whole fours, or it does not begin at one.
    uint8_t* copies = own % 4 == 0 ? nullptr : scratch.take<uint8_t>(2 * kTile * whole_fours(own));
    if (scratch.failed) return kOutOfMemory;
    for (int64_t t = first; t < last; ++t) {
      const int64_t begin = tile_begin(t), count = tile_begin(t + 1) - begin;
      if (count == 0) continue;
      project(a, begin, count, inner, copies);
      moments(a, t, begin, count);
    }
    return kDone;
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
          memcpy(copies + (kTile + i) * wide, context + i * c, size_t(own));
        }
        x = copies, context = copies + kTile * wide, pixel = wide;
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
    return all + group * ceil_div(columns, kPanel) * kPanel * channels;
  }

  // Mean of each channel of the attention over a tile, and the sum of squares around it.
  void moments(const Image& a, int64_t tile, int64_t begin, int64_t count) const {
    const float* attention = a.attention + begin * weights_;
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
        const double scale = double(f_.norm_weight[e]) * factor;
        a.scale[e] = float(scale), a.offset[e] = float(f_.norm_bias[e] - mean * scale);
      }
    }
    return kDone;
  }

  // Rows first to last of the dynamic context, and the sums of both contexts over them.
  int rows(const Image& a, int64_t first, int64_t last) const {
    const Runs& runs = spread_.runs();
    const int64_t together = pixels_together<float>(p_, taps_), pixel = f_.groups * taps_ * runs.maps;
    Scratch scratch;
    ValueWindow<float> reads(scratch, p_);
    Window<float> window{reads.x, scratch.take<const float*>(taps_), 0, 0, taps_ * runs.maps};
    float* weights = scratch.take<float>(together * weights_);
    float* as_read = spread_.needed ? scratch.take<float>(together * pixel) : weights;
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
          const int64_t at = i * f_.width + j;
          float* dynamic = a.dynamic + at * a.dynamic_pixel;
          reads.move_to(j);
          window.x_at = reads.at, window.w_at = (j - begin) * pixel;
          sum_(runs, dynamic, window, taps_);
          activate(dynamic, a.static_context + at * f_.channels, sums);
        }
      }
    }
    return kDone;
  }

  void normalise(const Image& a, int64_t begin, int64_t count, float* weights) const {
    for (int64_t i = 0; i < count; ++i) {
      const float* from = a.attention + (begin + i) * weights_;
      float* to = weights + i * weights_;
      over_weights([&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
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
    over_vectors(channels, [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
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
    over_vectors(f_.channels, [&](int64_t e, const auto& get, const auto& put) __attribute__((always_inline)) {
      put(a.share + e, sigmoid(get(a.share + e)));
    });
    return kDone;
  }
  static float row_times(const float* matrix, const float* bias, int64_t row, const float* x, int64_t columns) {
    const float* weights = matrix + row * columns;
    Floats sum{};
    over_vectors(columns, [&](int64_t e, const auto& get, const auto&) __attribute__((always_inline)) {
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
      over_vectors(channels, [&](int64_t c, const auto& get, const auto&) __attribute__((always_inline)) {
        const int64_t left = channels - c;
        const Floats s = static_at(context + c, left, static_scale);
        Floats y = s + get(share + c) * (get(dynamic + c) - s);
        if (factor != nullptr) y = y * get(factor + c) + get(bias + c);
        const LaneBytes bytes = to_bytes(y * multiplier);
        memcpy(out + c, &bytes, left >= kLanes<float> ? sizeof bytes : size_t(left));
      });
    }
    return kDone;
  }

  const Int8LayerProblem& f_;
  const int64_t taps_, weights_, pixels_, tiles_;
  const Problem p_;
  const Spread<float> spread_;
  const SumTaps<float> sum_ = sum_taps_for<float>(spread_.runs(), taps_);
};

}  // namespace
