// The operator and its two gradients, in every layout and type.
#include <cstring>

#include "checks.h"

extern "C" {
int cotnet_aggregate(const AggregateProblem*, const void*, const void*, void*);
int cotnet_grad_value(const AggregateProblem*, const void*, const void*, void*);
int cotnet_grad_weight(const AggregateProblem*, const void*, const void*, void*);
}

namespace {

enum Layout { kContiguous, kChannelsLast, kHeadsInnermost, kSliced, kReversed, kLayouts };
const char* const kLayoutNames[] = {"contiguous", "channels_last", "heads_innermost", "sliced", "reversed"};

// A tensor of `rank` dimensions in a buffer of exactly its extent.
template <class T> struct Tensor {
  int rank;
  int64_t size[5], stride[5], count = 1;
  Buffer<T> buffer;
  T* data = buffer.data();

  Tensor(const std::vector<int64_t>& sizes, Layout layout) : rank(int(sizes.size())), buffer(lay_out(sizes, layout)) {}
  T& at(int64_t flat) {
    int64_t offset = 0;
    for (int i = rank - 1; i >= 0; --i) offset += flat % size[i] * stride[i], flat /= size[i];
    return data[offset];
  }
  void fill() {
    for (int64_t i = 0; i < count; ++i) at(i) = narrow<T>(Accumulator<T>(random_unit()));
  }
  std::vector<double> all() {
    std::vector<double> elements;
    for (int64_t i = 0; i < count; ++i) elements.push_back(widen(at(i)));
    return elements;
  }

 private:
  // Sets sizes, strides and count; returns the extent.
  int64_t lay_out(const std::vector<int64_t>& sizes, Layout layout) {
    // From the innermost dimension outwards. Channels are dimension 1; a weight's taps are dimension 2.
    std::vector<int> order;
    const int last = rank - 1;
    if (layout == kContiguous || layout == kSliced)
      for (int i = last; i >= 0; --i) order.push_back(i);
    else if (layout == kReversed)
      for (int i = 0; i < rank; ++i) order.push_back(i);
    else if (layout == kChannelsLast && rank == 5) order = {2, 1, 4, 3, 0};
    else if (rank == 5) order = {1, 2, 4, 3, 0};
    else order = {1, 3, 2, 0};
    int64_t next_stride = layout == kSliced ? 2 : 1, extent = 1;
    for (int dimension : order) {
      size[dimension] = sizes[size_t(dimension)], stride[dimension] = next_stride;
      next_stride *= size[dimension] + (layout == kSliced ? 1 : 0);
      count *= size[dimension];
      extent += (size[dimension] - 1) * stride[dimension];
    }
    return extent;
  }
};

struct Case {
  int64_t batch, groups, heads, sharing, height, width, k, stride, dilation;  // heads of one group
};

const Case kCases[] = {
    {2, 1, 8, 8, 7, 13, 3, 1, 1},
    {1, 1, 16, 2, 13, 3, 3, 1, 1},
    {2, 2, 6, 8, 3, 7, 3, 1, 1},
    {1, 1, 3, 5, 7, 7, 3, 2, 1},
    {1, 1, 20, 2, 2, 13, 3, 1, 2},
    {1, 2, 1, 7, 13, 1, 5, 3, 1},
    {2, 1, 1, 33, 7, 2, 5, 1, 2},
    {1, 3, 4, 4, 1, 1, 3, 1, 1},
    {1, 1, 8, 2, 7, 33, 7, 2, 3},
    {2, 1, 2, 3, 2, 3, 1, 2, 1},
    {1, 1, 4, 4, 3, 5, 3, 1, 5},
    {1, 1, 32, 8, 5, 9, 3, 1, 1},
    {1, 1, 64, 2, 3, 19, 3, 1, 1},
    {1, 4, 3, 1, 5, 5, 3, 1, 1},
    {1, 1, 16, 1, 33, 33, 3, 1, 1},
    // Large enough for a second thread, as the one before.
    {3, 2, 3, 2, 13, 15, 5, 1, 1},
    {2, 1, 12, 8, 9, 9, 3, 1, 1},
    {2, 1, 8, 5, 21, 13, 5, 2, 1},
};

template <class T> bool run(const Case& c, Dtype dtype, const Layout (&layouts)[3], int threads) {
  const int64_t heads = c.groups * c.heads, channels = heads * c.sharing, taps = c.k * c.k,
                pad = c.dilation * (c.k / 2);
  const int64_t out_h = (c.height - 1) / c.stride + 1, out_w = (c.width - 1) / c.stride + 1;
  Tensor<T> value({c.batch, channels, c.height, c.width}, layouts[0]);
  Tensor<T> weight({c.batch, heads, taps, out_h, out_w}, layouts[1]);
  Tensor<T> grad({c.batch, channels, out_h, out_w}, layouts[2]);
  Tensor<T> out({c.batch, channels, out_h, out_w}, layouts[0]);
  Tensor<T> grad_value({c.batch, channels, c.height, c.width}, layouts[2]);
  Tensor<T> grad_weight({c.batch, heads, taps, out_h, out_w}, layouts[1]);
  value.fill(), weight.fill(), grad.fill();

  AggregateProblem p{};
  p.dtype = dtype, p.num_threads = threads, p.kernel_size = c.k, p.stride = c.stride, p.dilation = c.dilation;
  p.groups = c.groups, p.batch = c.batch, p.channels = channels, p.heads = heads;
  p.height = c.height, p.width = c.width, p.out_h = out_h, p.out_w = out_w;
  memcpy(p.weight_strides, weight.stride, sizeof p.weight_strides);
  memcpy(p.value_strides, value.stride, sizeof p.value_strides);
  memcpy(p.out_strides, out.stride, sizeof p.out_strides);
  int status = cotnet_aggregate(&p, value.data, weight.data, out.data);
  memcpy(p.out_strides, grad.stride, sizeof p.out_strides);
  status |= cotnet_grad_weight(&p, grad.data, value.data, grad_weight.data);
  memcpy(p.value_strides, grad_value.stride, sizeof p.value_strides);
  status |= cotnet_grad_value(&p, grad.data, weight.data, grad_value.data);
  if (status != kOk) return false;

  const std::vector<double> values = value.all(), weights = weight.all(), grads = grad.all();
  std::vector<double> exact_out(size_t(out.count)), exact_value(size_t(value.count)),
      exact_weight(size_t(weight.count));
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t ch = 0; ch < channels; ++ch)
      for (int64_t i = 0; i < out_h; ++i)
        for (int64_t j = 0; j < out_w; ++j)
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t h = i * c.stride - pad + t / c.k * c.dilation, w = j * c.stride - pad + t % c.k * c.dilation;
            if (h < 0 || h >= c.height || w < 0 || w >= c.width) continue;
            const int64_t group_channels = c.heads * c.sharing,
                          head = ch / group_channels * c.heads + ch % group_channels % c.heads;
            const int64_t in_at = ((n * channels + ch) * c.height + h) * c.width + w;
            const int64_t out_at = ((n * channels + ch) * out_h + i) * out_w + j;
            const int64_t weight_at = (((n * heads + head) * taps + t) * out_h + i) * out_w + j;
            const double x = values[size_t(in_at)], k = weights[size_t(weight_at)], g = grads[size_t(out_at)];
            exact_out[size_t(out_at)] += x * k;
            exact_value[size_t(in_at)] += g * k;
            exact_weight[size_t(weight_at)] += g * x;
          }
  // Terms are below 1 in magnitude: one rounding of the storage type, and one of the accumulator for each term.
  const double storage = rounding_of(dtype);
  const double accumulator = (dtype == kFloat64 ? 0x1p-52 : 0x1p-23) * double((taps + c.sharing) * (taps + c.sharing));
  Largest largest;
  for (int64_t i = 0; i < out.count; ++i)
    largest.add(widen(out.at(i)), exact_out[size_t(i)], storage * std::fabs(exact_out[size_t(i)]) * 1.01 + accumulator);
  for (int64_t i = 0; i < value.count; ++i)
    largest.add(widen(grad_value.at(i)), exact_value[size_t(i)],
                storage * std::fabs(exact_value[size_t(i)]) * 1.01 + accumulator);
  for (int64_t i = 0; i < weight.count; ++i)
    largest.add(widen(grad_weight.at(i)), exact_weight[size_t(i)],
                storage * std::fabs(exact_weight[size_t(i)]) * 1.01 + accumulator);
  return largest.within();
}

}  // namespace

void check_aggregate(const char* isa, Count& count) {
  for (const Case& c : kCases)
    for (int dtype = 0; dtype < 4; ++dtype)
      for (int mixed = 0; mixed < kLayouts * (same_layouts ? 1 : 3); ++mixed)
        for (int threads = 1; threads <= 2; ++threads) {
          // All three tensors the same, then the weight in another layout, then the gradient.
          const Layout first = Layout(mixed % kLayouts), other = Layout((mixed + mixed / kLayouts) % kLayouts);
          const Layout layouts[3] = {first, mixed / kLayouts == 1 ? other : first,
                                     mixed / kLayouts == 2 ? other : first};
          const auto run_case = dtype == kFloat32    ? run<float>
                                : dtype == kFloat64  ? run<double>
                                : dtype == kBfloat16 ? run<Bfloat16>
                                                     : run<Float16>;
          ++count.done;
          if (run_case(c, Dtype(dtype), layouts, threads)) continue;
          ++count.failed;
          printf("%s: wrong at %s, %s %s %s, case %d, %d threads\n", isa, kDtypeNames[dtype], kLayoutNames[layouts[0]],
                 kLayoutNames[layouts[1]], kLayoutNames[layouts[2]], int(&c - kCases), threads);
        }
}
