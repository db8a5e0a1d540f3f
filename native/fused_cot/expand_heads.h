// Weights of heads whose number neither divides a vector's lanes nor is a multiple of them, laid out as packs of
// channels meet them: the heads of a tap again and again, until they end together with a pack, or a group's channels
// end.
#pragma once

#include "../aggregate/layout.h"
#include "../simd/vector_math.h"

namespace {

template <class T> class HeadExpander {
 public:
  explicit HeadExpander(const HeadPattern& pattern) : needed(pattern.wraps), heads_(pattern.heads), pattern_(pattern) {
    if (!needed) return;
    const int64_t length = pattern.period < pattern.channels ? pattern.period : pattern.channels;
    pattern_.heads = length, pattern_.repeats = 1, pattern_.wraps = false;
    if (heads_ >= kLanes<float>) return;
    for (int64_t e = 0; e < length + kLanes<float>; ++e) head_of_[e] = int32_t(e % heads_);
  }

  // How the expanded weights are read: as if there were that many heads.
  const HeadPattern& pattern() const { return pattern_; }

  // Expands `rows` rows of one tap. What is behind the last one in `to` may be overwritten as far as a vector reaches,
  // and in `from` read.
  void operator()(T* to, const T* from, int64_t rows) const {
    const int64_t length = pattern_.heads;
    for (int64_t r = 0; r < rows; ++r, to += length, from += heads_) {
      if (heads_ < kLanes<float>) {
        const Floats all = load(from);
        for (int64_t e = 0; e < length; e += kLanes<float>) store(to + e, permute(all, head_of_ + e));
      } else {
        for_each_whole_vector(heads_, [&](int64_t e) __attribute__((always_inline)) {
          const Floats some = load(from + e);
          for (int64_t copy = 0; copy < length; copy += heads_) store(to + copy + e, some);
        });
      }
    }
  }

  const bool needed;

 private:
  const int64_t heads_;
  HeadPattern pattern_;
  // A period has at most kWidth<T> times as many elements as there are heads.
  int32_t head_of_[kWidth<T> * kLanes<float> + kLanes<float>];
};

}  // namespace
