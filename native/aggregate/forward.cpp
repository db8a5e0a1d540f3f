// cotnet::local_aggregation: y[n, c, i, j] = sum over t of w[n, head of c, t, i, j] * value[n, c, cell t of the
// window].
#include "../runtime/parallel.h"
#include "../simd/dtype.h"
#include "dispatch.h"
#include "nchw_gather.h"
#include "nchw_masked.h"
#include "nhwc_3x3_pair.h"
#include "nhwc_3x3_pair_bf16.h"
#include "nhwc_pixel.h"
#include "row_weights.h"
#include "window.h"

namespace {

// Vectors along channels; rows first to last of all images' output rows.
template <class T> int aggregate_nhwc_generic(const AggregateProblem& p, const T* value, const T* weight, T* out,
                                              int64_t first, int64_t last) {
  const HeadPattern pattern = HeadPattern::of<T>(p);
  const int64_t taps = p.kernel_size * p.kernel_size, chunk = pixels_per_chunk<T>(p, taps);
  const AggregatePixel<T> aggregate_pixel = aggregate_pixel_for<T>(pattern, taps);

  Scratch scratch;
  RowWeightsReader<T> reader(scratch, p, pattern, 1, chunk);
  InputWindow<T> window(scratch, p);
  TapOperands<T> in{window.x, scratch.take<const T*>(taps), 0, 0, 0};
  if (scratch.failed) return kOutOfMemory;

  for_each_row(p, window, value, weight, out, first, last, [&](const T* weights, T* row) {
    for (int64_t begin = 0; begin < p.out_w; begin += chunk) {
      const int64_t end = begin + chunk < p.out_w ? begin + chunk : p.out_w;
      const RowWeights<T> w = reader.read(0, weights + begin * p.weight_strides[4], end - begin);
      for (int64_t t = 0; t < taps; ++t) in.w[t] = w.first + t * w.tap_stride;
      in.group_stride = w.group_stride;
      for (int64_t j = begin; j < end; ++j) {
        window.move_to(j);
        in.x_offset = window.offset;
        in.w_offset = (j - begin) * w.pixel_stride;
        aggregate_pixel(pattern, row + j * p.out_strides[3], in, taps);
      }
    }
  });
  return kOk;
}

template <class T>
using RowsKernel = int (*)(const AggregateProblem&, const T*, const T*, T*, int64_t first, int64_t last);

template <class T> RowsKernel<T> rows_kernel([[maybe_unused]] Path path, int units) {
  if constexpr (kHasPair<T>)
    if (path == Path::kNhwcPair) return units == 1 ? aggregate_nhwc_3x3_pair<T, 1> : aggregate_nhwc_3x3_pair<T, 2>;
  if constexpr (kHasPairBf16<T>)
    if (path == Path::kNhwcPairBf16)
      return units == 1   ? aggregate_nhwc_3x3_pair_bf16<1>
             : units == 2 ? aggregate_nhwc_3x3_pair_bf16<2>
                          : aggregate_nhwc_3x3_pair_bf16<4>;
  if (path != Path::kNhwc3x3) return aggregate_nhwc_generic<T>;
  if constexpr (kWidth<T> >= 4)
    if (units == 4) return aggregate_nhwc_3x3<T, 4>;
  return units == 2 ? aggregate_nhwc_3x3<T, 2> : aggregate_nhwc_3x3<T, 1>;
}

template <class T> int forward(const AggregateProblem& p, const T* value, const T* weight, T* out) {
  const auto [path, units] = choose<T>(p, Pass::kForward);
  if (path == Path::kNchwGather) return aggregate_nchw_gather(p, kForward, value, weight, out);
  if constexpr (kHasMaskedLoads)
    if (path == Path::kNchwMasked) return aggregate_nchw_masked<T, kForward>(p, value, weight, out);
  const RowsKernel<T> kernel = rows_kernel<T>(path, units);
  return parallel_for(useful_threads(p), p.batch * p.out_h,
                      [&](int64_t first, int64_t last) { return kernel(p, value, weight, out, first, last); });
}

}  // namespace

namespace COTNET_ISA {
int aggregate(const AggregateProblem* p, const void* value, const void* weight, void* out) {
  return for_dtype<float, double, Bfloat16, Float16>(p->dtype, [&](auto zero) {
    using T = decltype(zero);
    return forward(*p, static_cast<const T*>(value), static_cast<const T*>(weight), static_cast<T*>(out));
  });
}
}
