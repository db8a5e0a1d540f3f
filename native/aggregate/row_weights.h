// Rows of weights with the heads of a tap side by side: where they lie if they do so already, else transposed.
#pragma once

#include "../runtime/arena.h"
#include "../simd/tap_transpose.h"
#include "layout.h"

namespace {

// The weight of tap t and head h of a group at the row's j-th pixel:
// first[t * tap_stride + j * pixel_stride + group * group_stride + h].
template <class T> struct RowWeights {
  const T* first;
  int64_t tap_stride, pixel_stride, group_stride;
};

// The heads of a group again and again, as far as a pack that starts among them can reach. In whole packs, which write
// behind that and read behind the heads.
template <class T> COTNET_INLINE void wrap_heads(const HeadPattern& pattern, T* to, const T* from) {
  const int64_t stored = pattern.stored_heads<T>();
  for (int64_t first = 0; first < stored; first += pattern.heads)
    for (int64_t h = 0; h < pattern.heads && first + h < stored; h += kWidth<T>)
      memcpy(to + first + h, from + h, kVectorBytes);
}

template <class T> class RowWeightsReader {
 public:
  // Room for `slots` rows of `pixels` each.
  RowWeightsReader(Scratch& scratch, const AggregateProblem& p, const HeadPattern& pattern, int64_t slots,
                   int64_t pixels)
      : p_(p),
        pattern_(pattern),
        taps_(p.kernel_size * p.kernel_size),
        as_they_lie_(!pattern.wraps && heads_innermost(p)),
        dense_(channels_last_weight(p)) {
    if (as_they_lie_) return;
    pitch_ = pixels * p.heads + kWidth<T>;
    group_ = pattern.stored_heads<T>();
    wrapped_pitch_ = pixels * pattern.groups * group_;
    slot_ = pattern.wraps ? taps_ * wrapped_pitch_ + kWidth<T> : taps_ * pitch_;
    rows_ = scratch.take<T>(slots * slot_);
    plain_ = pattern.wraps ? scratch.take<T>(taps_ * pitch_) : nullptr;
  }

  // `count` pixels of a row, the first of them at `from`.
  RowWeights<T> read(int64_t slot, const T* from, int64_t count) {
    const int64_t* s = p_.weight_strides;
    if (as_they_lie_) return {from, s[2], s[4], pattern_.heads};
    T* to = rows_ + slot * slot_;
    T* plain = pattern_.wraps ? plain_ : to;
    transpose(plain, from, count);
    if (!pattern_.wraps) return {to, pitch_, p_.heads, pattern_.heads};
    for (int64_t t = 0; t < taps_; ++t)
      for (int64_t b = 0; b < count * pattern_.groups; ++b)
        wrap_heads(pattern_, to + t * wrapped_pitch_ + b * group_, plain + t * pitch_ + b * pattern_.heads);
    return {to, wrapped_pitch_, pattern_.groups * group_, group_};
  }

 private:
  void transpose(T* to, const T* from, int64_t count) const {
    const int64_t *s = p_.weight_strides, heads = p_.heads;
    if (dense_ && deinterleave_taps(to, pitch_, from, count * heads, taps_)) return;
    for (int64_t t = 0; t < taps_; ++t)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t j = 0; j < count; ++j) to[t * pitch_ + j * heads + h] = from[h * s[1] + t * s[2] + j * s[4]];
  }

  const AggregateProblem& p_;
  const HeadPattern& pattern_;
  int64_t taps_;
  bool as_they_lie_, dense_;
  int64_t pitch_ = 0, group_ = 0, wrapped_pitch_ = 0, slot_ = 0;
  T *rows_ = nullptr, *plain_ = nullptr;
};

// Pixels whose weights are transposed together, few enough to stay in the nearest cache.
template <class T> int64_t pixels_per_chunk(const AggregateProblem& p, int64_t taps) {
  constexpr int64_t bytes = 12 << 10, multiple = 8;
  int64_t pixels = bytes / (p.heads * taps * int64_t(sizeof(T))) / multiple * multiple;
  if (pixels < multiple) pixels = multiple;
  return pixels < p.out_w ? pixels : p.out_w;
}

}  // namespace
