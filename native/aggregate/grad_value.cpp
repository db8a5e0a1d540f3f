// cotnet::local_aggregation_grad_value: every input position gathers from the output positions whose windows hold it.
#include "../runtime/parallel.h"
#include "../simd/dtype.h"
#include "dispatch.h"
#include "nchw_gather.h"
#include "nchw_masked.h"
#include "nhwc_pixel.h"
#include "row_weights.h"
#include "window.h"

namespace {

// Vectors along channels; rows first to last of all images' input rows.
template <class T> int grad_value_nhwc(const AggregateProblem& p, const T* grad_out, const T* weight, T* grad_value,
                                       int64_t first, int64_t last) {
  const HeadPattern pattern = HeadPattern::of<T>(p);
  const int64_t k = p.kernel_size, taps = k * k, pad = p.dilation * (k / 2);
  const AggregatePixel<T> aggregate_pixel = aggregate_pixel_for<T>(pattern, taps);
  const int64_t *os = p.out_strides, *vs = p.value_strides, *ws = p.weight_strides;
  // Output rows that one input row meets; the weights of these are kept in a ring.
  const int64_t reach = 2 * pad / p.stride + 1, slots = reach < p.out_h ? reach : p.out_h;
  const Interior inner_rows(pad, 1, p.height, p.height), inner_columns(pad, 1, p.width, p.width);

  Scratch scratch;
  RowWeightsReader<T> reader(scratch, p, pattern, slots, p.out_w);
  RowWeights<T>* ring = scratch.take<RowWeights<T>>(slots);
  TapOperands<T> in{scratch.take<const T*>(taps), scratch.take<const T*>(taps), 0, 0, 0};
  const T* zeros = new_zeros<T>(scratch, p);
  if (scratch.failed) return kOutOfMemory;

  int64_t ready = -1;  // rows of all images' output rows that the ring holds, or held
  for (int64_t r = first; r < last; ++r) {
    const int64_t n = r / p.height, h = r % p.height;
    const T* image = grad_out + n * os[0];
    T* target = grad_value + n * vs[0] + h * vs[2];
    const int64_t highest = (h + pad) / p.stride < p.out_h - 1 ? (h + pad) / p.stride : p.out_h - 1;
    int64_t lowest = h > pad ? (h - pad + p.stride - 1) / p.stride : 0;
    if (ready >= n * p.out_h + lowest) lowest = ready + 1 - n * p.out_h;
    for (int64_t i = lowest; i <= highest; ++i)
      ring[i % slots] = reader.read(i % slots, weight + n * ws[0] + i * ws[3], p.out_w);
    if (ready < n * p.out_h + highest) ready = n * p.out_h + highest;

    const RowWeights<T>& any = ring[highest % slots];
    in.group_stride = any.group_stride;
    for (int64_t column = 0; column < p.width; ++column) {
      if (p.stride == 1 && inner_rows.holds(h) && inner_columns.holds(column) && inner_columns.holds(column - 1)) {
        in.x_offset += os[3];
        in.w_offset += any.pixel_stride;
      } else {
        in.x_offset = in.w_offset = 0;
        for (int64_t u = 0, t = 0; u < k; ++u) {
          const int64_t down = h + pad - u * p.dilation, i = down / p.stride;
          const bool meets_row = down >= 0 && down % p.stride == 0 && i < p.out_h;
          const RowWeights<T>* row = meets_row ? &ring[i % slots] : nullptr;
          for (int64_t v = 0; v < k; ++v, ++t) {
            const int64_t across = column + pad - v * p.dilation, j = across / p.stride;
            const bool meets = meets_row && across >= 0 && across % p.stride == 0 && j < p.out_w;
            in.x[t] = meets ? image + i * os[2] + j * os[3] : zeros;
            in.w[t] = meets ? row->first + t * row->tap_stride + j * row->pixel_stride : zeros;
          }
        }
      }
      aggregate_pixel(pattern, target + column * vs[3], in, taps);
    }
  }
  return kOk;
}

template <class T> int grad_value_of(const AggregateProblem& p, const T* grad_out, const T* weight, T* grad_value) {
  const Path path = choose<T>(p, Pass::kGradValue).path;
  if (path == Path::kNchwGather) return aggregate_nchw_gather(p, kBackward, grad_out, weight, grad_value);
  if constexpr (kHasMaskedLoads)
    if (path == Path::kNchwMasked) return aggregate_nchw_masked<T, kBackward>(p, grad_out, weight, grad_value);
  return parallel_for(useful_threads(p), p.batch * p.height, [&](int64_t first, int64_t last) {
    return grad_value_nhwc(p, grad_out, weight, grad_value, first, last);
  });
}

}  // namespace

namespace COTNET_ISA {
int grad_value(const AggregateProblem* p, const void* grad_out, const void* weight, void* grad_value) {
  return for_dtype<float, double, Bfloat16, Float16>(p->dtype, [&](auto zero) {
    using T = decltype(zero);
    return grad_value_of(*p, static_cast<const T*>(grad_out), static_cast<const T*>(weight),
                         static_cast<T*>(grad_value));
  });
}
}
