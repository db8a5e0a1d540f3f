// Maxima and averages of windows of bytes.
#pragma once

#include "../runtime/parallel.h"
#include "requantize.h"

namespace {

typedef uint8_t Bytes __attribute__((vector_size(kVectorBytes)));

class Int8Pool {
 public:
  explicit Int8Pool(const Int8PoolProblem& p) : p_(p) {}

  int run() const {
    const int64_t num_threads = p_.batch * p_.out_h * p_.out_w * p_.channels < (1 << 14) ? 1 : p_.num_threads;
    return parallel_for(num_threads, p_.batch * p_.out_h, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t j = 0; j < p_.out_w; ++j) pixel(r / p_.out_h, r % p_.out_h, j);
      return int(kOk);
    });
  }

 private:
  // The part of a window that lies on the image.
  struct Window {
    const uint8_t* first;
    int64_t rows, columns;
  };

  void pixel(int64_t n, int64_t i, int64_t j) const {
    const auto clipped = [](int64_t first, int64_t size, int64_t limit, int64_t& begin) {
      const int64_t end = first + size < limit ? first + size : limit;
      begin = first < 0 ? 0 : first;
      return end - begin;
    };
    int64_t h, w;
    const int64_t top = i * p_.stride_h - p_.padding_h, left = j * p_.stride_w - p_.padding_w;
    Window window{};
    window.rows = clipped(top, p_.kernel_h, p_.height, h), window.columns = clipped(left, p_.kernel_w, p_.width, w);
    window.first = p_.x + ((n * p_.height + h) * p_.width + w) * p_.channels;
    uint8_t* out = p_.out + ((n * p_.out_h + i) * p_.out_w + j) * p_.channels;
    if (p_.maximum) return maximum(window, out);
    // As torch counts: what padding there is, but nothing beyond it.
    const auto counted = [](int64_t first, int64_t size, int64_t limit) { return (first + size < limit ? first + size : limit) - first; };
    const int64_t all = counted(top, p_.kernel_h, p_.height + p_.padding_h) * counted(left, p_.kernel_w, p_.width + p_.padding_w);
    const int64_t inside = window.rows * window.columns;
    average(window, p_.counts_padding ? all : inside, p_.counts_padding ? (all - inside) * p_.in_zero : 0, out);
  }

  void maximum(const Window& window, uint8_t* out) const {
    const int64_t channels = p_.channels;
    int64_t c = 0;
    for (; c + kVectorBytes <= channels; c += kVectorBytes) {
      Bytes most{};
      over(window, [&](const uint8_t* from) __attribute__((always_inline)) {
        Bytes x;
        memcpy(&x, from + c, sizeof x);
        most = x > most ? x : most;
      });
      memcpy(out + c, &most, sizeof most);
    }
    for (; c < channels; ++c) {
      uint8_t most = 0;
      over(window, [&](const uint8_t* from) { most = from[c] > most ? from[c] : most; });
      out[c] = most;
    }
  }

  void average(const Window& window, int64_t count, int64_t more, uint8_t* out) const {
    const Floats share = splat_float(1.0f / float(count));
    const ToBytes to_bytes(0, 0);
    const int64_t channels = p_.channels;
    for (int64_t c = 0; c < channels; c += kLanes<float>) {
      const int64_t left = channels - c;
      Integers sum = int32_t(more) - Integers{};
      over(window, [&](const uint8_t* from) __attribute__((always_inline)) {
        sum += widen_bytes(left >= kLanes<float> ? load_bytes(from + c) : load_bytes(from + c, left));
      });
      const LaneBytes bytes = to_bytes(to_floats(sum) * share);
      memcpy(out + c, &bytes, left >= kLanes<float> ? sizeof bytes : size_t(left));
    }
  }

  template <class Work> COTNET_INLINE void over(const Window& window, const Work& work) const {
    for (int64_t u = 0; u < window.rows; ++u)
      for (int64_t v = 0; v < window.columns; ++v) work(window.first + (u * p_.width + v) * p_.channels);
  }

  const Int8PoolProblem& p_;
};

// Floats to bytes, a row of an image at a time.
inline int quantize_map(const Int8QuantizeProblem& p) {
  const int64_t num_threads = p.batch * p.channels * p.height * p.width < (1 << 14) ? 1 : p.num_threads;
  const ToBytes to_bytes(int32_t(p.zero), 0);
  const Floats multiplier = splat_float(float(p.multiplier));
  return parallel_for(num_threads, p.batch * p.height, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* from = p.x + r / p.height * p.strides[0] + r % p.height * p.strides[2];
      uint8_t* to = p.out + r * p.width * p.channels;
      const auto convert = [&](int64_t count, const auto& read, const auto& write) __attribute__((always_inline)) {
        for_each_vector(count, [&](int64_t at, const auto& get, const auto&) __attribute__((always_inline)) {
          const LaneBytes bytes = to_bytes(get(read + at) * multiplier);
          const int64_t left = count - at;
          write(at, bytes, left < kLanes<float> ? left : kLanes<float>);
        });
      };
      if (p.strides[1] == 1 && p.strides[3] == p.channels) {
        convert(p.width * p.channels, from, [&](int64_t at, LaneBytes bytes, int64_t count) __attribute__((always_inline)) {
          memcpy(to + at, &bytes, size_t(count));
        });
        continue;
      }
      for (int64_t c = 0; c < p.channels; ++c) {
        const float* channel = from + c * p.strides[1];
        const auto scatter = [&](int64_t at, LaneBytes bytes, int64_t count) __attribute__((always_inline)) {
          for (int64_t l = 0; l < count; ++l) to[(at + l) * p.channels + c] = bytes[l];
        };
        if (p.strides[3] == 1) convert(p.width, channel, scatter);
        else
          for (int64_t j = 0; j < p.width; ++j) convert(1, channel + j * p.strides[3], [&](int64_t, LaneBytes bytes, int64_t) {
            to[j * p.channels + c] = bytes[0];
          });
      }
    }
    return int(kOk);
  });
}

}  // namespace
