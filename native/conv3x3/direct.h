// A 3x3 convolution of narrow groups, stride 1, zero padding 1, as it is written: for these the transforms of
// Winograd's algorithm would take longer than its multiplications. Rows of pixels times one panel of weights a group.
#pragma once

#include "../abi.h"
#include "../runtime/parallel.h"
#include "../simd/vector_math.h"
#include "panel_gemm.h"

namespace {

class DirectConv {
 public:
  explicit DirectConv(const Conv3x3Problem& p)
      : p_(p), in_(p.in_channels / p.groups), out_(p.out_channels / p.groups), row_((p.width + 2) * kNarrowPitch) {}

  int run() const {
    const int64_t num_threads = p_.batch * p_.height * p_.width * p_.in_channels < (1 << 14) ? 1 : p_.num_threads;
    return parallel_for(num_threads, p_.batch * p_.height, [&](int64_t begin, int64_t end) {
      // Three rows of an image, and one of zeros.
      BumpAllocator counter{0};
      counter.take<float>(4 * row_);
      BumpAllocator memory{workspace<kConvolution>().reserve(counter.used)};
      if (memory.base == 0) return int(kOutOfMemory);
      float* const rows = memory.take<float>(4 * row_);
      memset(rows, 0, size_t(4 * row_) * sizeof(float));
      // Group after group, so that its rows and weights stay in the first cache, and not all rows, for the second.
      for (int64_t some; begin < end; begin += some) {
        some = end - begin < kRows ? end - begin : kRows;
        for (int64_t group = 0; group < p_.groups; ++group) convolve_rows(group, begin, begin + some, rows);
      }
      return int(kOk);
    });
  }

 private:
  static constexpr int kRows = 28;
  static_assert(kNarrowPitch == kNarrow);

  // Rows begin to end of all images' rows.
  void convolve_rows(int64_t group, int64_t begin, int64_t end, float* rows) const {
    int64_t last_read = -1;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t i = r % p_.height;
      COTNET_ISA::GemmInput inputs[9];
      for (int64_t u = 0; u < 3; ++u) {
        const int64_t row = r + u - 1;
        const bool inside = i + u >= 1 && i + u <= p_.height;
        float* to = rows + (inside ? row % 3 : 3) * row_;
        if (inside && row > last_read) {
          read_row(group, row, to);
          last_read = row;
        }
        for (int64_t v = 0; v < 3; ++v) inputs[3 * u + v] = {to + v * kNarrowPitch, kNarrowPitch, in_};
      }
      COTNET_ISA::multiply_panels_narrow(inputs, 9, p_.width, p_.weights + group * 9 * in_ * kPanelWidth,
                                         p_.bias + group * out_, out_, p_.relu,
                                         p_.out + r * p_.width * p_.out_channels + group * out_, p_.out_channels);
    }
  }

  // A row as [1 + width + 1][kNarrowPitch], with a pixel of zeros at both ends.
  void read_row(int64_t group, int64_t row, float* to) const {
    const float* from = p_.x + row * p_.width * p_.in_channels + group * in_;
    for_each_vector(in_, [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
      for (int64_t j = 0; j < p_.width; ++j) put(to + (1 + j) * kNarrowPitch + c, get(from + j * p_.in_channels + c));
    });
  }

  const Conv3x3Problem& p_;
  const int64_t in_, out_, row_;  // channels of a group, floats of a row
};

}  // namespace
