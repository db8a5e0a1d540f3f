// A convolution in integers. Three ways to bring a tile of pixels before the weights:
//
// - as it lies, where the convolution is 1x1 of stride 1;
// - by rows of the output with padded copies of the input's rows, where rows are long;
// - gathered, the channels of all taps of a pixel one behind the other, elsewhere.
#pragma once

#include "../runtime/parallel.h"
#include "panel_dot.h"

namespace {

inline int64_t whole_fours(int64_t channels) { return (channels + 3) / 4 * 4; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

class Int8Conv {
 public:
  explicit Int8Conv(const Int8ConvProblem& p)
      : p_(p),
        taps_(p.kernel_h * p.kernel_w),
        in_(p.in_channels / p.groups),
        out_(p.out_channels / p.groups),
        wide_(whole_fours(in_)),
        pixel_(wide_ * p.groups),
        depth_(taps_ * wide_),
        pixels_(p.batch * p.out_h * p.out_w) {}

  int run() const {
    const int64_t num_threads = pixels_ * out_ * depth_ * p_.groups < (1 << 20) ? 1 : p_.num_threads;
    return as_it_lies() || !by_rows() ? tiles(num_threads) : rows(num_threads);
  }

 private:
  static constexpr int64_t kTilePixels = 96, kLongRow = 24, kGathered = 448 << 10;  // bytes of a gathered tile

  bool as_it_lies() const {
    return taps_ == 1 && p_.stride_h * p_.stride_w == 1 && p_.padding_h + p_.padding_w == 0 && in_ % 4 == 0;
  }
  bool by_rows() const { return p_.out_w >= kLongRow && taps_ > 1; }

  // Of output channels `first` on of a group, at pixel number `pixel`.
  Finish finish_at(int64_t pixel, int64_t group, int64_t first, int64_t count) const {
    const int64_t channel = group * out_ + first, at = pixel * p_.out_channels + channel;
    return {p_.bias + channel,
            p_.multiplier + channel,
            count,
            p_.bytes == nullptr ? nullptr : p_.bytes + at,
            p_.floats == nullptr ? nullptr : p_.floats + at,
            p_.out_channels,
            p_.skip == nullptr ? nullptr : p_.skip + at,
            p_.out_channels,
            float(p_.skip_multiplier),
            int32_t(p_.skip_zero),
            int32_t(p_.zero),
            int32_t(p_.lowest)};
  }
  const int8_t* panels(int64_t group, int64_t first) const {
    return p_.weights + (group * ceil_div(out_, kPanelWidth) * kPanelWidth + first) * depth_;
  }

  // So many pixels times a part of each group's output channels, such that there is work for all threads.
  int tiles(int64_t num_threads) const {
    const bool gathers = !as_it_lies();
    int64_t most = kTilePixels;
    if (gathers && most * taps_ * pixel_ > kGathered) most = kGathered / (taps_ * pixel_);
    if (most < kBlockPixels) most = kBlockPixels;
    int64_t tiles = ceil_div(pixels_, most);
    if (tiles % 2 == 1 && tiles > 1) ++tiles;
    const int64_t all_panels = ceil_div(out_, kPanelWidth);
    int64_t parts = tiles >= 2 * num_threads ? 1 : ceil_div(2 * num_threads, tiles);
    if (num_threads == 1) parts = 1;
    if (parts > all_panels) parts = all_panels;
    return parallel_for(num_threads, tiles * parts, [&](int64_t begin, int64_t end) {
      uint8_t* gathered = nullptr;
      if (gathers) {
        BumpAllocator counter{0};
        counter.take<uint8_t>(most * taps_ * pixel_);
        BumpAllocator memory{workspace<kConvolution>().reserve(counter.used)};
        if (memory.base == 0) return int(kOutOfMemory);
        gathered = memory.take<uint8_t>(most * taps_ * pixel_);
      }
      int64_t in_hand = -1;
      for (int64_t task = begin; task < end; ++task) {
        const int64_t tile = task / parts, part = task % parts;
        const int64_t first = pixels_ * tile / tiles, count = pixels_ * (tile + 1) / tiles - first;
        if (gathers && tile != in_hand) gather(first, count, gathered), in_hand = tile;
        const int64_t begin_channel = all_panels * part / parts * kPanelWidth;
        int64_t end_channel = all_panels * (part + 1) / parts * kPanelWidth;
        if (end_channel > out_) end_channel = out_;
        for (int64_t group = 0; group < p_.groups; ++group) {
          const ByteInput input = gathers ? ByteInput{gathered + group * depth_, p_.groups * depth_, depth_}
                                          : ByteInput{p_.x + first * p_.in_channels + group * in_, p_.in_channels, in_};
          multiply_byte_tile(&input, 1, count, panels(group, begin_channel),
                             finish_at(first, group, begin_channel, end_channel - begin_channel));
        }
      }
      return int(kOk);
    });
  }

  // [pixels][groups][taps][channels of a group, in whole fours].
  void gather(int64_t first, int64_t count, uint8_t* to) const {
    for (int64_t pixel = first; pixel < first + count; ++pixel, to += p_.groups * depth_) {
      const int64_t n = pixel / (p_.out_h * p_.out_w), rest = pixel % (p_.out_h * p_.out_w);
      const int64_t i = rest / p_.out_w * p_.stride_h - p_.padding_h, j = rest % p_.out_w * p_.stride_w - p_.padding_w;
      for (int64_t tap = 0; tap < taps_; ++tap) {
        const int64_t h = i + tap / p_.kernel_w * p_.dilation_h, w = j + tap % p_.kernel_w * p_.dilation_w;
        const bool inside = h >= 0 && h < p_.height && w >= 0 && w < p_.width;
        const uint8_t* from = p_.x + ((n * p_.height + h) * p_.width + w) * p_.in_channels;
        for (int64_t group = 0; group < p_.groups; ++group) {
          uint8_t* at = to + group * depth_ + tap * wide_;
          if (wide_ != in_) memset(at + in_, 0, size_t(wide_ - in_));
          if (inside) memcpy(at, from + group * in_, size_t(in_));
          else memset(at, int(p_.in_zero), size_t(in_));
        }
      }
    }
  }

  int rows(int64_t num_threads) const {
    const int64_t padded = p_.width + 2 * p_.padding_w, slots = (p_.kernel_h - 1) * p_.dilation_h + 1;
    const int64_t row_bytes = padded * pixel_;
    // One kernel row is one run of channels where neighbours are taps of the same group.
    const bool together = p_.groups == 1 && p_.dilation_w == 1;
    const int64_t runs = together ? p_.kernel_h : taps_;
    return parallel_for(num_threads, p_.batch * p_.out_h, [&](int64_t begin, int64_t end) {
      BumpAllocator counter{0};
      counter.take<uint8_t>((slots + 1) * row_bytes), counter.take<ByteInput>(runs);
      BumpAllocator memory{workspace<kConvolution>().reserve(counter.used)};
      if (memory.base == 0) return int(kOutOfMemory);
      uint8_t* const copies = memory.take<uint8_t>((slots + 1) * row_bytes);
      ByteInput* const inputs = memory.take<ByteInput>(runs);
      memset(copies, int(p_.in_zero), size_t((slots + 1) * row_bytes));
      int64_t next = -1;  // the first row of all images' that has not been copied
      for (int64_t r = begin; r < end; ++r) {
        const int64_t n = r / p_.out_h, first = r % p_.out_h * p_.stride_h - p_.padding_h;
        for (int64_t u = 0; u < p_.kernel_h; ++u) {
          const int64_t h = first + u * p_.dilation_h;
          const bool inside = h >= 0 && h < p_.height;
          const int64_t row = n * p_.height + h;
          if (inside)
            for (int64_t fresh = next > row - slots + 1 ? next : row - slots + 1; fresh <= row; ++fresh)
              if (fresh >= n * p_.height) copy_row(fresh, copies + fresh % slots * row_bytes);
          if (inside && row >= next) next = row + 1;
          const uint8_t* from = copies + (inside ? row % slots : slots) * row_bytes;
          if (together) inputs[u] = {from, p_.stride_w * pixel_, p_.kernel_w * pixel_};
          else
            for (int64_t v = 0; v < p_.kernel_w; ++v)
              inputs[u * p_.kernel_w + v] = {from + v * p_.dilation_w * pixel_, p_.stride_w * pixel_, wide_};
        }
        for (int64_t group = 0; group < p_.groups; ++group) {
          multiply_byte_tile(inputs, int(runs), p_.out_w, panels(group, 0), finish_at(r * p_.out_w, group, 0, out_));
          for (int64_t run = 0; run < runs; ++run) inputs[run].first += wide_;
        }
      }
      return int(kOk);
    });
  }

  // As [padding + width + padding][groups][channels of a group, in whole fours].
  void copy_row(int64_t row, uint8_t* to) const {
    const uint8_t* from = p_.x + row * p_.width * p_.in_channels;
    to += p_.padding_w * pixel_;
    if (wide_ == in_) {
      memcpy(to, from, size_t(p_.width * pixel_));
      return;
    }
    for (int64_t at = 0; at < p_.width * p_.groups; ++at, from += in_, to += wide_) memcpy(to, from, size_t(in_));
  }

  const Int8ConvProblem& p_;
  const int64_t taps_, in_, out_, wide_, pixel_, depth_, pixels_;
};

}  // namespace
