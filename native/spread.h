// Weights of maps whose number neither divides a vector's lanes nor is a multiple of them, laid out as packs of channels
// meet them: the maps of a tap again and again, until they end together with a pack, or a block's channels end.
#pragma once

#include "runs.h"
#include "vector_math.h"

namespace {

template <class T> class Spread {
 public:
  explicit Spread(const Runs& runs) : needed(runs.wraps), maps_(runs.maps), runs_(runs) {
    if (!needed) return;
    const int64_t length = runs.period < runs.channels ? runs.period : runs.channels;
    runs_.maps = length, runs_.repeats = 1, runs_.wraps = false;
    if (maps_ >= kLanes<float>) return;
    for (int64_t e = 0; e < length + kLanes<float>; ++e) map_of_[e] = int32_t(e % maps_);
  }

  // How the weights are read: as if there were that many maps.
  const Runs& runs() const { return runs_; }

  // `rows` rows of one tap. What is behind the last one in `to` may be overwritten as far as a vector reaches, and in
  // `from` read.
  void operator()(T* to, const T* from, int64_t rows) const {
    const int64_t length = runs_.maps;
    for (int64_t r = 0; r < rows; ++r, to += length, from += maps_) {
      if (maps_ < kLanes<float>) {
        const Floats all = load(from);
        for (int64_t e = 0; e < length; e += kLanes<float>) store(to + e, permute(all, map_of_ + e));
      } else {
        over_whole_vectors(maps_, [&](int64_t e) __attribute__((always_inline)) {
          const Floats some = load(from + e);
          for (int64_t copy = 0; copy < length; copy += maps_) store(to + copy + e, some);
        });
      }
    }
  }

  const bool needed;

 private:
  const int64_t maps_;
  Runs runs_;
  // A period has at most kWidth<T> times as many elements as there are maps.
  int32_t map_of_[kWidth<T> * kLanes<float> + kLanes<float>];
};

}  // namespace
