// cotnet::local_aggregation_grad_weight: for each tap, the product of gradient and value summed over a head's channels.
#include "../runtime/parallel.h"
#include "../simd/dtype.h"
#include "dispatch.h"
#include "nchw_gather.h"
#include "nchw_masked.h"
#include "nhwc_pixel.h"
#include "row_weights.h"
#include "window.h"

namespace {

// Vectors along channels; rows first to last of all images' output rows.
template <class T> int grad_weight_nhwc(const AggregateProblem& p, const T* grad_out, const T* value, T* grad_weight,
                                        int64_t first, int64_t last) {
  const HeadPattern pattern = HeadPattern::of<T>(p);
  const int64_t taps = p.kernel_size * p.kernel_size, *ws = p.weight_strides;
  const int64_t chunk = pixels_per_chunk<T>(p, taps), pitch = chunk * p.heads + kWidth<T>;
  const int64_t lanes_pitch = lanes_needed<T>(pattern);
  const bool dense = channels_last_weight(p);

  Scratch scratch;
  T* by_tap = scratch.take<T>(taps * pitch);
  auto* lanes = scratch.take<Accumulator<T>>(9 * lanes_pitch);
  InputWindow<T> window(scratch, p);
  if (scratch.failed) return kOutOfMemory;

  for_each_row(p, window, value, grad_weight, grad_out, first, last, [&](T* row, const T* grads) {
    for (int64_t begin = 0; begin < p.out_w; begin += chunk) {
      const int64_t end = begin + chunk < p.out_w ? begin + chunk : p.out_w, pixels = end - begin;
      for (int64_t j = begin; j < end; ++j) {
        window.move_to(j);
        T* to = by_tap + (j - begin) * p.heads;
        for_blocks<9, 3, 1>(taps, [&](auto count, int64_t t) {
          grad_weight_pixel<T, count.value>(pattern, to + t * pitch, pitch, grads + j * p.out_strides[3], window.x + t,
                                            window.offset, lanes, lanes_pitch);
        });
      }
      T* target = row + begin * ws[4];
      if (dense && interleave_taps(target, by_tap, pitch, pixels * p.heads, taps)) continue;
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t h = 0; h < p.heads; ++h)
          for (int64_t j = 0; j < pixels; ++j)
            target[h * ws[1] + t * ws[2] + j * ws[4]] = by_tap[t * pitch + j * p.heads + h];
    }
  });
  return kOk;
}

template <class T> int grad_weight_of(const AggregateProblem& p, const T* grad_out, const T* value, T* grad_weight) {
  const Path path = choose<T>(p, Pass::kGradWeight).path;
  if (path == Path::kNchwGather) return grad_weight_nchw_gather(p, grad_out, value, grad_weight);
  if constexpr (kHasMaskedLoads)
    if (path == Path::kNchwMasked) return grad_weight_nchw_masked(p, grad_out, value, grad_weight);
  return parallel_for(useful_threads(p), p.batch * p.out_h, [&](int64_t first, int64_t last) {
    return grad_weight_nhwc(p, grad_out, value, grad_weight, first, last);
  });
}

}  // namespace

namespace COTNET_ISA {
int grad_weight(const AggregateProblem* p, const void* grad_out, const void* value, void* grad_weight) {
  return for_dtype<float, double, Bfloat16, Float16>(p->dtype, [&](auto zero) {
    using T = decltype(zero);
    return grad_weight_of(*p, static_cast<const T*>(grad_out), static_cast<const T*>(value),
                          static_cast<T*>(grad_weight));
  });
}
}
