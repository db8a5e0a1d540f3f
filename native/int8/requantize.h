// From sums of integers to bytes, or to floats: the same bits whatever the instruction set.
#pragma once

#include "../simd/vector_math.h"
#include "dot.h"

namespace {

// Where the sums of some output channels go; the pointers are those of the first of them.
struct Finish {
  const int32_t* bias;       // [channels], added to the sums
  const float* multiplier;   // [channels], from the sums' scale to that of the output
  int64_t channels;
  uint8_t* bytes;            // to bytes, or, where null,
  float* floats;             // to floats
  int64_t pixel;             // elements from one pixel of the output to the next
  const uint8_t* skip;       // to be added, or null
  int64_t skip_pixel;
  float skip_multiplier;
  int32_t skip_zero, zero, lowest;  // `zero` stands for 0 in the output, nothing is below `lowest`

  Finish from(int64_t channel) const {
    Finish f = *this;
    f.bias += channel, f.multiplier += channel, f.channels -= channel;
    if (bytes != nullptr) f.bytes += channel;
    if (floats != nullptr) f.floats += channel;
    if (skip != nullptr) f.skip += channel;
    return f;
  }
};

// A product that no addition behind it is contracted with, which would round once instead of twice.
COTNET_INLINE Floats rounded(Floats product) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(product));
#elif defined(__SSE2__)
  __asm__("" : "+x"(product));
#elif defined(__aarch64__)
  __asm__("" : "+w"(product));
#endif
  return product;
}

COTNET_INLINE Floats to_floats(Integers x) { return __builtin_convertvector(x, Floats); }

// From floats to bytes.
struct ToBytes {
  Floats lowest, highest;
  int32_t zero;

  ToBytes(int32_t zero, int32_t lowest)
      : lowest(splat_float(float(lowest - zero))), highest(splat_float(float(255 - zero))), zero(zero) {}

  // The nearest whole number, of two equally near ones the even one, and what stands for 0 added, within [lowest, 255].
  COTNET_INLINE LaneBytes operator()(Floats y) const {
    constexpr float round = 0x1.8p23f;
    const Integers whole = (Integers)(max_of(min_of(y, highest), lowest) + round) - (int32_t(0x4b400000) - zero);
    return narrow_to_bytes(whole);
  }
};

constexpr auto whole_bytes = [](const uint8_t* from) __attribute__((always_inline)) { return load_bytes(from); };
constexpr auto put_whole_bytes = [](uint8_t* to, LaneBytes x) __attribute__((always_inline)) { memcpy(to, &x, sizeof x); };

// What becomes of the sums of a vector of channels at PIXELS pixels from number `at` on; sums[p][V] are the p-th one's.
// All that the loops need is in locals, for the stores might change what lies in memory.
template <int PIXELS, int VECTORS, class Get, class Put, class PutFloats>
COTNET_INLINE void finish_pixels(const Finish& f, const Integers (&sums)[PIXELS][VECTORS], int v, Floats multiplier,
                                 int64_t at, int64_t first, const Get& get, const Put& put, const PutFloats& put_floats) {
  const int64_t pixel = f.pixel;
  if (f.bytes == nullptr) {
    float* to = f.floats + at * pixel + first;
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; ++p) put_floats(to + p * pixel, to_floats(sums[p][v]) * multiplier);
    return;
  }
  const ToBytes to_bytes(f.zero, f.lowest);
  uint8_t* to = f.bytes + at * pixel + first;
  if (f.skip == nullptr) {
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; ++p) put(to + p * pixel, to_bytes(to_floats(sums[p][v]) * multiplier));
    return;
  }
  const int64_t skip_pixel = f.skip_pixel;
  const uint8_t* skip = f.skip + at * skip_pixel + first;
  const Integers skip_zero = f.skip_zero - Integers{};
  const Floats skip_multiplier = splat_float(f.skip_multiplier);
#pragma GCC unroll 24
  for (int p = 0; p < PIXELS; ++p) {
    const Integers of_skip = widen_bytes(get(skip + p * skip_pixel)) - skip_zero;
    const Floats y = rounded(to_floats(sums[p][v]) * multiplier) + rounded(to_floats(of_skip) * skip_multiplier);
    put(to + p * pixel, to_bytes(y));
  }
}

}  // namespace
