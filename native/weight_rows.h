// Rows of weights with the maps of a tap side by side: where they lie if they do so already, else transposed.
#pragma once

#include "runs.h"
#include "scratch.h"
#include "taps.h"

namespace {

// The weight of tap t and map g of a block at the row's j-th pixel: at[t * tap + j * pixel + block * block_stride + g].
template <class T> struct WeightRow {
  const T* at;
  int64_t tap, pixel, block;
};

// The maps of a block again and again, as far as a pack that starts among them can reach. In whole packs, which write
// behind that and read behind the maps.
template <class T> COTNET_INLINE void wrap_maps(const Runs& runs, T* to, const T* from) {
  const int64_t stored = runs.stored<T>();
  for (int64_t first = 0; first < stored; first += runs.maps)
    for (int64_t g = 0; g < runs.maps && first + g < stored; g += kWidth<T>)
      memcpy(to + first + g, from + g, kVectorBytes);
}

template <class T> class WeightRows {
 public:
  // Room for `slots` rows of `pixels` each.
  void prepare(Scratch& scratch, const Problem& p, const Runs& runs, const T* weight, int64_t slots, int64_t pixels) {
    p_ = &p, runs_ = &runs, weight_ = weight, taps_ = p.kernel_size * p.kernel_size;
    const int64_t* s = p.weight_strides;
    in_place_ = !runs.wraps && (p.maps == 1 || s[1] == 1);
    if (in_place_) return;
    pitch_ = pixels * p.maps + kWidth<T>;
    block_ = runs.stored<T>(), wrapped_pitch_ = pixels * runs.blocks * block_;
    slot_ = runs.wraps ? taps_ * wrapped_pitch_ + kWidth<T> : taps_ * pitch_;
    rows_ = scratch.take<T>(slots * slot_);
    plain_ = runs.wraps ? scratch.take<T>(taps_ * pitch_) : nullptr;
  }

  // `count` pixels of row i of image n, from pixel j on.
  WeightRow<T> row(int64_t slot, int64_t n, int64_t i, int64_t j, int64_t count) {
    const int64_t* s = p_->weight_strides;
    const T* from = weight_ + n * s[0] + i * s[3] + j * s[4];
    if (in_place_) return {from, s[2], s[4], runs_->maps};
    T* to = rows_ + slot * slot_;
    T* plain = runs_->wraps ? plain_ : to;
    transpose(plain, from, count);
    if (!runs_->wraps) return {to, pitch_, p_->maps, runs_->maps};
    for (int64_t t = 0; t < taps_; ++t)
      for (int64_t b = 0; b < count * runs_->blocks; ++b)
        wrap_maps(*runs_, to + t * wrapped_pitch_ + b * block_, plain + t * pitch_ + b * runs_->maps);
    return {to, wrapped_pitch_, runs_->blocks * block_, block_};
  }

 private:
  void transpose(T* to, const T* from, int64_t count) const {
    const int64_t* s = p_->weight_strides;
    const int64_t maps = p_->maps;
    const bool dense = s[2] == 1 && (maps == 1 || s[1] == taps_) && (count == 1 || s[4] == maps * taps_);
    if (dense && taps_apart(to, pitch_, from, count * maps, taps_)) return;
    for (int64_t t = 0; t < taps_; ++t)
      for (int64_t g = 0; g < maps; ++g)
        for (int64_t j = 0; j < count; ++j) to[t * pitch_ + j * maps + g] = from[g * s[1] + t * s[2] + j * s[4]];
  }

  const Problem* p_;
  const Runs* runs_;
  const T* weight_;
  bool in_place_;
  int64_t taps_, pitch_ = 0, block_ = 0, wrapped_pitch_ = 0, slot_ = 0;
  T *rows_ = nullptr, *plain_ = nullptr;
};

// Pixels whose weights are transposed together, few enough to stay in the nearest cache.
template <class T> int64_t pixels_together(const Problem& p, int64_t taps) {
  constexpr int64_t bytes = 12 << 10, multiple = 8;
  int64_t pixels = bytes / (p.maps * taps * int64_t(sizeof(T))) / multiple * multiple;
  if (pixels < multiple) pixels = multiple;
  return pixels < p.out_w ? pixels : p.out_w;
}

}  // namespace
