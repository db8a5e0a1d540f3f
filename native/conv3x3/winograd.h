// A 3x3 convolution, stride 1, zero padding 1, with 4 multiplications for each output instead of 9: Winograd's minimal
// filtering F(2x2, 3x3) (Lavin and Gray, arXiv 1509.09308). A tile of 2x2 outputs reads 4x4 inputs. Both transforms
// take 16 of the 32 registers of AVX-512 for the positions of a tile, for one vector of channels, and 16 for what
// becomes of them.
//
// A block of tiles lies in scratch as [16 transformed positions][tiles][channels of the groups that are done together].
#pragma once

#include "../abi.h"
#include "../runtime/parallel.h"
#include "../simd/vector_math.h"
#include "panel_gemm.h"

namespace {

constexpr int kPositions = 16;

class WinogradConv {
 public:
  explicit WinogradConv(const Conv3x3Problem& p)
      : p_(p),
        rows_((p.height + 1) / 2),
        columns_((p.width + 1) / 2),
        in_(p.in_channels / p.groups),
        out_(p.out_channels / p.groups),
        group_count_(groups_at_once()),
        tiles_(p.batch * rows_ * columns_) {
    block_tiles_ = 2 * kBlockPixels;  // so few that transformed tiles and products stay near
    if (block_tiles_ > tiles_) block_tiles_ = tiles_;
    // The positions of a tile lie a cache line off a power of two, or they would all fall into one set of the cache.
    in_pitch_ = block_tiles_ * group_count_ * in_ + 16, out_pitch_ = block_tiles_ * group_count_ * out_ + 16;
  }

  int run() const {
    const int64_t blocks = (tiles_ + block_tiles_ - 1) / block_tiles_;
    const int64_t num_threads = tiles_ * p_.in_channels < (1 << 12) ? 1 : p_.num_threads;
    return parallel_for(num_threads, blocks * (p_.groups / group_count_), [&](int64_t begin, int64_t end) {
      Scratch scratch;
      const float* zeros = scratch.take<float>(group_count_ * in_);
      BumpAllocator counter{0};
      block_memory(counter);
      BumpAllocator memory{workspace<kConvolution>().reserve(counter.used)};
      if (scratch.failed || memory.base == 0) return int(kOutOfMemory);
      const auto [inputs, products] = block_memory(memory);
      for (int64_t task = begin; task < end; ++task) {
        // The blocks of the same groups one after the other: their weights stay in the second cache.
        const int64_t first = task % blocks * block_tiles_, left = tiles_ - first;
        convolve_block(first, left < block_tiles_ ? left : block_tiles_, task / blocks * group_count_, inputs, products,
                       zeros);
      }
      return int(kOk);
    });
  }

 private:
  // Groups so narrow that one alone would leave lanes of the transforms' vectors empty are done with others.
  int64_t groups_at_once() const {
    for (int64_t groups = 1; groups <= p_.groups && groups * in_ <= 8 * kLanes<float>; ++groups)
      if (p_.groups % groups == 0 && groups * in_ >= 2 * kLanes<float> && groups * in_ % kLanes<float> == 0)
        return groups;
    return 1;
  }

  struct BlockMemory {
    float *inputs, *products;
  };
  BlockMemory block_memory(BumpAllocator& memory) const {
    float* inputs = memory.take<float>(kPositions * in_pitch_);
    return {inputs, memory.take<float>(kPositions * out_pitch_)};
  }

  struct Tile {
    int64_t image, row, column;  // of its first output
  };
  Tile tile(int64_t number) const {
    const int64_t image = number / (rows_ * columns_), rest = number % (rows_ * columns_);
    return {image, rest / columns_ * 2, rest % columns_ * 2};
  }
  // The tile after `t`: divisions would cost more than some of the transforms.
  COTNET_INLINE Tile next(Tile t) const {
    if ((t.column += 2) < p_.width) return t;
    t.column = 0;
    if ((t.row += 2) < p_.height) return t;
    return {t.image + 1, 0, 0};
  }

  // Tiles first to first + count of some groups.
  void convolve_block(int64_t first, int64_t count, int64_t group, float* inputs, float* products,
                      const float* zeros) const {
    const int64_t in = group_count_ * in_, out = group_count_ * out_;
    Tile at = tile(first);
    for (int64_t t = 0; t < count; ++t, at = next(at)) transform_input(at, group, inputs + t * in, zeros);
    const int64_t panels = (out_ + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
    for (int64_t g = 0; g < group_count_; ++g)
      for (int64_t position = 0; position < kPositions; ++position) {
        const COTNET_ISA::GemmInput input{inputs + position * in_pitch_ + g * in_, in, in_};
        COTNET_ISA::multiply_panels(&input, 1, count, p_.weights + ((group + g) * kPositions + position) * panels * in_,
                                    nullptr, out_, false, products + position * out_pitch_ + g * out_, out);
      }
    at = tile(first);
    for (int64_t t = 0; t < count; ++t, at = next(at)) transform_output(at, group, products + t * out);
  }

  // B^T d B for a tile d of 4x4 inputs; position q of the result goes to at[q * in_pitch_].
  COTNET_INLINE void transform_input(const Tile& t, int64_t group, float* at, const float* zeros) const {
    const float* from[kPositions];
    for (int64_t u = 0; u < 4; ++u)
      for (int64_t v = 0; v < 4; ++v) {
        const int64_t i = t.row + u - 1, j = t.column + v - 1;
        const bool inside = i >= 0 && i < p_.height && j >= 0 && j < p_.width;
        const int64_t pixel = (t.image * p_.height + i) * p_.width + j;
        from[4 * u + v] = inside ? p_.x + pixel * p_.in_channels + group * in_ : zeros;
      }
    const int64_t pitch = in_pitch_;
    for_each_vector(group_count_ * in_,
                    [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
                      Floats d[kPositions], half[kPositions];
#pragma GCC unroll 16
                      for (int q = 0; q < kPositions; ++q) d[q] = get(from[q] + c);
#pragma GCC unroll 4
                      for (int v = 0; v < 4; ++v) {
                        half[v] = d[v] - d[8 + v];
                        half[4 + v] = d[4 + v] + d[8 + v];
                        half[8 + v] = d[8 + v] - d[4 + v];
                        half[12 + v] = d[4 + v] - d[12 + v];
                      }
#pragma GCC unroll 4
                      for (int u = 0; u < kPositions; u += 4) {
                        put(at + (u + 0) * pitch + c, half[u] - half[u + 2]);
                        put(at + (u + 1) * pitch + c, half[u + 1] + half[u + 2]);
                        put(at + (u + 2) * pitch + c, half[u + 2] - half[u + 1]);
                        put(at + (u + 3) * pitch + c, half[u + 1] - half[u + 3]);
                      }
                    });
  }

  // A^T m A, plus the bias, to those of the 2x2 outputs that exist.
  COTNET_INLINE void transform_output(const Tile& t, int64_t group, const float* from) const {
    const int64_t pitch = out_pitch_, row = p_.width * p_.out_channels;
    const bool below = t.row + 1 < p_.height, right = t.column + 1 < p_.width;
    float* to = p_.out + ((t.image * p_.height + t.row) * p_.width + t.column) * p_.out_channels + group * out_;
    const float* bias = p_.bias + group * out_;
    for_each_vector(group_count_ * out_,
                    [&](int64_t c, const auto& get, const auto& put) __attribute__((always_inline)) {
                      Floats m[kPositions], upper[4], lower[4];
#pragma GCC unroll 16
                      for (int q = 0; q < kPositions; ++q) m[q] = get(from + q * pitch + c);
#pragma GCC unroll 4
                      for (int v = 0; v < 4; ++v) {
                        upper[v] = m[v] + m[4 + v] + m[8 + v];
                        lower[v] = m[4 + v] - m[8 + v] - m[12 + v];
                      }
                      const Floats b = get(bias + c);
                      const auto finish = [&](Floats y) __attribute__((always_inline)) {
                        y += b;
                        return p_.relu ? max_of(y, Floats{}) : y;
                      };
                      put(to + c, finish(upper[0] + upper[1] + upper[2]));
                      if (right) put(to + p_.out_channels + c, finish(upper[1] - upper[2] - upper[3]));
                      if (below) put(to + row + c, finish(lower[0] + lower[1] + lower[2]));
                      if (below && right) put(to + row + p_.out_channels + c, finish(lower[1] - lower[2] - lower[3]));
                    });
  }

  const Conv3x3Problem& p_;
  const int64_t rows_, columns_, in_, out_;  // of a group
  const int64_t group_count_, tiles_;
  int64_t block_tiles_, in_pitch_, out_pitch_;
};

}  // namespace
