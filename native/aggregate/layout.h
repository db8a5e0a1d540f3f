// What the kernels ask about the sizes and strides of a problem.
#pragma once

#include <type_traits>

#include "../abi.h"
#include "../simd/pack.h"

namespace {

// Whether input and output have their channels side by side.
inline bool channels_last_maps(const AggregateProblem& p) { return p.value_strides[1] == 1 && p.out_strides[1] == 1; }

// Whether the weights of a row of pixels lie as [pixel][head][tap] with nothing between them.
inline bool channels_last_weight(const AggregateProblem& p) {
  const int64_t taps = p.kernel_size * p.kernel_size, *ws = p.weight_strides;
  return ws[2] == 1 && (p.heads == 1 || ws[1] == taps) && (p.out_w == 1 || ws[4] == p.heads * taps);
}

// Whether the heads of a tap lie side by side.
inline bool heads_innermost(const AggregateProblem& p) { return p.heads == 1 || p.weight_strides[1] == 1; }

// Whether the H x W plane of each channel and of each tap is one run of pixels, the same in all three tensors.
inline bool dense_planes(const AggregateProblem& p) {
  const auto dense = [&](const int64_t* s) {
    return (p.width == 1 || s[1] == 1) && (p.height == 1 || s[0] == p.width);
  };
  return p.stride == 1 && dense(p.value_strides + 2) && dense(p.out_strides + 2) && dense(p.weight_strides + 3);
}

// The forward pass, or the gradient by the value, which runs the windows backwards.
enum Direction { kForward, kBackward };

// One head of one image, and the channels that share it.
struct Head {
  int64_t n, head, first_channel, channel_step, channels;

  Head(const AggregateProblem& p, int64_t number) {
    const int64_t heads = p.heads / p.groups, group_channels = p.channels / p.groups;
    n = number / p.heads, head = number % p.heads;
    first_channel = head / heads * group_channels + head % heads;
    channel_step = heads, channels = group_channels / heads;
  }
};

// How packs of channels meet the heads. Within a group channel c uses head c modulo the group's heads, so a pack of
// weights serves the channels one period, two periods, ... further on as well. With packs of 4, for the channels 0, 1,
// ...
//
//   8 heads   0123 4567 0123 4567 ...   period 8, repeats 1: a pack is a part of the heads
//   2 heads   0101 0101 ...             period 4, repeats 2: a pack holds the heads more than once
//   3 heads   0120 1201 2012 0120 ...   period 12, wraps: a pack starts anywhere and passes the last head
struct HeadPattern {
  int64_t groups, channels, heads;  // the latter two of one group
  int64_t period;                   // in channels, a multiple of the width of a pack
  int repeats;
  bool wraps;

  template <class T> static HeadPattern of(const AggregateProblem& p) {
    constexpr int width = kWidth<T>;
    HeadPattern pattern{p.groups, p.channels / p.groups, p.heads / p.groups, width, 1, false};
    if (pattern.heads % width == 0) {
      pattern.period = pattern.heads;
    } else if (pattern.heads == 1 || pattern.heads * 2 == width || pattern.heads * 4 == width) {
      pattern.repeats = int(width / pattern.heads);
    } else {
      pattern.wraps = true;
      while (pattern.period % pattern.heads) pattern.period += width;
    }
    return pattern;
  }
  // Elements of one group in a row of weights of one tap: where packs wrap, the heads are stored twice over.
  template <class T> int64_t stored_heads() const { return wraps ? heads + kWidth<T> : heads; }
};

// Threads that are worth their cost.
inline int64_t useful_threads(const AggregateProblem& p) {
  constexpr int64_t small = 1 << 17;  // multiplications, below which a second thread costs more than it brings
  const int64_t outputs = p.batch * p.channels * p.out_h * p.out_w, taps = p.kernel_size * p.kernel_size;
  return outputs < small / taps ? 1 : p.num_threads;
}

// Calls body(count, first) with a constant count for as many blocks of COUNT as fit into `total`, then of the next
// smaller count for what is left; the last is 1.
template <int COUNT, int... SMALLER, class Body>
COTNET_INLINE void for_blocks(int64_t total, const Body& body, int64_t first = 0) {
  for (; first + COUNT <= total; first += COUNT) body(std::integral_constant<int, COUNT>(), first);
  if constexpr (sizeof...(SMALLER) > 0) for_blocks<SMALLER...>(total, body, first);
}

}  // namespace
