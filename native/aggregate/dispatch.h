// Every choice of a path for cotnet::local_aggregation and its gradients.
//
// | path             | vectors along | serves |
// |------------------|---------------|--------|
// | kNhwcPairBf16    | channels      | 3x3 in bfloat16 on AVX-512 with BF16: two pixels at once, two taps an
// instruction | | kNhwcPair        | channels      | 3x3 in float32 and float64 on AVX-512: two pixels at once | |
// kNhwc3x3         | channels      | 3x3 with a channels_last weight, forward | | kNhwcGeneric     | channels      |
// channels_last maps | | kNchwMasked      | pixels        | dense planes, stride 1, on AVX-512 | | kNchwGather      |
// pixels        | everything |
#pragma once

#include "layout.h"

namespace {

enum class Path { kNhwcPairBf16, kNhwcPair, kNhwc3x3, kNhwcGeneric, kNchwMasked, kNchwGather };

enum class Pass { kForward, kGradValue, kGradWeight };

// What this build's instruction set has.
#if defined(__AVX512F__)
constexpr bool kHasMaskedLoads = true;
template <class T> constexpr bool kHasPair = kAccumulates<T>;
#else
constexpr bool kHasMaskedLoads = false;
template <class T> constexpr bool kHasPair = false;
#endif
#if defined(__AVX512BF16__)
template <class T> constexpr bool kHasPairBf16 = std::is_same<T, Bfloat16>::value;
#else
template <class T> constexpr bool kHasPairBf16 = false;
#endif

// `units` is that of `units_per_pack`, for the 3x3 paths.
struct Choice {
  Path path;
  int units;
};

// A unit is the part of a pixel that one group has: its heads lie in memory right before those of the next unit. Units
// that share a pack of weights, or 1 where a unit takes whole packs; 0 where the 3x3 kernels do not serve.
template <class T> int units_per_pack(const AggregateProblem& p) {
  const int64_t heads = p.heads / p.groups;
  if (p.kernel_size != 3 || !channels_last_weight(p)) return 0;
  if (heads % kWidth<T> == 0) return 1;
  return heads * 2 == kWidth<T> ? 2 : heads * 4 == kWidth<T> ? 4 : 0;
}

// Whether the vectors of channels lie in pixels that may be taken together.
template <class T> bool pixels_pair_up(const AggregateProblem& p, int units) {
  const bool whole_vectors = units == 1 || (p.groups == 1 && p.channels % kWidth<T> == 0);
  return whole_vectors && p.stride == 1 && p.dilation == 1 && p.out_w >= (units < 2 ? 2 : units);
}

template <class T> Choice choose(const AggregateProblem& p, Pass pass) {
  if (!channels_last_maps(p)) return {kHasMaskedLoads && dense_planes(p) ? Path::kNchwMasked : Path::kNchwGather, 0};
  const int units = pass == Pass::kForward ? units_per_pack<T>(p) : 0;
  if (units == 0) return {Path::kNhwcGeneric, 0};
  if (pixels_pair_up<T>(p, units)) {
    if (kHasPair<T> && units <= 2) return {Path::kNhwcPair, units};
    if (kHasPairBf16<T>) return {Path::kNhwcPairBf16, units};
  }
  return {Path::kNhwc3x3, units};
}

}  // namespace
