// Runs every kernel over odd shapes, layouts and types against plain loops in double. No torch: it is what the memory
// checkers run. Buffers are exactly as large as their tensors, so that one element beyond them is caught.
//
// Usage: driver [instruction set ...]; without arguments all that the machine has.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../problem.h"
#include "../simd.h"

extern "C" {
const char* cotnet_choose_isa(const char*);
int cotnet_aggregate(const Problem*, const void*, const void*, void*);
int cotnet_grad_value(const Problem*, const void*, const void*, void*);
int cotnet_grad_weight(const Problem*, const void*, const void*, void*);
}

namespace {

enum Layout { kContiguous, kChannelsLast, kMapsInnermost, kSliced, kReversed, kLayouts };
const char* const kLayoutNames[] = {"contiguous", "channels_last", "maps_innermost", "sliced", "reversed"};
const char* const kDtypeNames[] = {"float32", "float64", "bfloat16", "float16"};

uint32_t state = 1;
double random_unit() {
  state = state * 1664525u + 1013904223u;
  return double(state >> 8) / (1 << 23) - 1;
}

// A tensor of `rank` dimensions in a buffer of exactly its extent.
template <class T> struct Tensor {
  int rank;
  int64_t size[5], stride[5], count = 1;
  T* data;

  Tensor(std::vector<int64_t> sizes, Layout layout) : rank(int(sizes.size())) {
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
    int64_t step = layout == kSliced ? 2 : 1, extent = 1;
    for (int dimension : order) {
      size[dimension] = sizes[size_t(dimension)], stride[dimension] = step;
      step *= size[dimension] + (layout == kSliced ? 1 : 0);
      count *= size[dimension];
      extent += (size[dimension] - 1) * stride[dimension];
    }
    data = static_cast<T*>(malloc(size_t(extent) * sizeof(T)));
    for (int64_t i = 0; i < extent; ++i) data[i] = narrow<T>(Accumulator<T>(NAN));
  }
  Tensor(const Tensor&) = delete;
  ~Tensor() { free(data); }
  T& at(int64_t flat) {
    int64_t offset = 0;
    for (int i = rank - 1; i >= 0; --i) offset += flat % size[i] * stride[i], flat /= size[i];
    return data[offset];
  }
  void fill() {
    for (int64_t i = 0; i < count; ++i) at(i) = narrow<T>(Accumulator<T>(random_unit()));
  }
};

struct Case {
  int64_t batch, blocks, maps, sharing, height, width, k, stride, dilation;  // maps of one block
};

const Case kCases[] = {
    {2, 1, 8, 8, 7, 13, 3, 1, 1},  {1, 1, 16, 2, 13, 3, 3, 1, 1}, {2, 2, 6, 8, 3, 7, 3, 1, 1},
    {1, 1, 3, 5, 7, 7, 3, 2, 1},   {1, 1, 20, 2, 2, 13, 3, 1, 2}, {1, 2, 1, 7, 13, 1, 5, 3, 1},
    {2, 1, 1, 33, 7, 2, 5, 1, 2},  {1, 3, 4, 4, 1, 1, 3, 1, 1},   {1, 1, 8, 2, 7, 33, 7, 2, 3},
    {2, 1, 2, 3, 2, 3, 1, 2, 1},   {1, 1, 4, 4, 3, 5, 3, 1, 5},   {1, 1, 32, 8, 5, 9, 3, 1, 1},
    {1, 1, 64, 2, 3, 19, 3, 1, 1}, {1, 4, 3, 1, 5, 5, 3, 1, 1},   {1, 1, 16, 9, 33, 33, 3, 1, 1},
};

struct Largest {
  double excess = -1;
  void add(double actual, double exact, double tolerance) {
    const double e = std::fabs(actual - exact) - tolerance;
    if (!(e <= excess)) excess = e;
  }
};

template <class T> bool run(const Case& c, Dtype dtype, const Layout (&layouts)[3]) {
  const int64_t maps = c.blocks * c.maps, channels = maps * c.sharing, taps = c.k * c.k, pad = c.dilation * (c.k / 2);
  const int64_t out_h = (c.height - 1) / c.stride + 1, out_w = (c.width - 1) / c.stride + 1;
  Tensor<T> value({c.batch, channels, c.height, c.width}, layouts[0]);
  Tensor<T> weight({c.batch, maps, taps, out_h, out_w}, layouts[1]);
  Tensor<T> grad({c.batch, channels, out_h, out_w}, layouts[2]);
  Tensor<T> out({c.batch, channels, out_h, out_w}, layouts[0]);
  Tensor<T> grad_value({c.batch, channels, c.height, c.width}, layouts[2]);
  Tensor<T> grad_weight({c.batch, maps, taps, out_h, out_w}, layouts[1]);
  value.fill(), weight.fill(), grad.fill();

  Problem p{};
  p.dtype = dtype, p.threads = 3, p.kernel_size = c.k, p.stride = c.stride, p.dilation = c.dilation;
  p.blocks = c.blocks, p.batch = c.batch, p.channels = channels, p.maps = maps;
  p.height = c.height, p.width = c.width, p.out_h = out_h, p.out_w = out_w;
  memcpy(p.weight_strides, weight.stride, sizeof p.weight_strides);
  memcpy(p.value_strides, value.stride, sizeof p.value_strides);
  memcpy(p.out_strides, out.stride, sizeof p.out_strides);
  int status = cotnet_aggregate(&p, value.data, weight.data, out.data);
  memcpy(p.out_strides, grad.stride, sizeof p.out_strides);
  status |= cotnet_grad_weight(&p, grad.data, value.data, grad_weight.data);
  memcpy(p.value_strides, grad_value.stride, sizeof p.value_strides);
  status |= cotnet_grad_value(&p, grad.data, weight.data, grad_value.data);
  if (status != kDone) return false;

  std::vector<double> exact_out(size_t(out.count)), exact_value(size_t(value.count)), exact_weight(size_t(weight.count));
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t ch = 0; ch < channels; ++ch)
      for (int64_t i = 0; i < out_h; ++i)
        for (int64_t j = 0; j < out_w; ++j)
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t h = i * c.stride - pad + t / c.k * c.dilation, w = j * c.stride - pad + t % c.k * c.dilation;
            if (h < 0 || h >= c.height || w < 0 || w >= c.width) continue;
            const int64_t per_block = c.maps * c.sharing, map = ch / per_block * c.maps + ch % per_block % c.maps;
            const int64_t in_at = ((n * channels + ch) * c.height + h) * c.width + w;
            const int64_t out_at = ((n * channels + ch) * out_h + i) * out_w + j;
            const int64_t weight_at = (((n * maps + map) * taps + t) * out_h + i) * out_w + j;
            const double x = widen(value.at(in_at)), k = widen(weight.at(weight_at)), g = widen(grad.at(out_at));
            exact_out[size_t(out_at)] += x * k;
            exact_value[size_t(in_at)] += g * k;
            exact_weight[size_t(weight_at)] += g * x;
          }
  // Terms are below 1 in magnitude: one rounding of the storage type, and one of the accumulator for each term.
  const double storage = dtype == kFloat32 ? 0x1p-24 : dtype == kFloat64 ? 0x1p-53 : dtype == kBfloat16 ? 0x1p-9 : 0x1p-12;
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
  return largest.excess <= 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<const char*> all{"baseline", "avx2", "avx512"};
  const std::vector<const char*> wanted = argc > 1 ? std::vector<const char*>(argv + 1, argv + argc) : all;
  int failed = 0, done = 0;
  for (const char* isa : wanted) {
    if (cotnet_choose_isa(isa) == nullptr) {
      printf("%s: not on this machine\n", isa);
      continue;
    }
    int before = done;
    for (const Case& c : kCases)
      for (int dtype = 0; dtype < 4; ++dtype)
        for (int mixed = 0; mixed < kLayouts * 3; ++mixed) {
          // All three tensors alike, then the weight in another layout, then the gradient.
          const Layout first = Layout(mixed % kLayouts), other = Layout((mixed + mixed / kLayouts) % kLayouts);
          const Layout layouts[3] = {first, mixed / kLayouts == 1 ? other : first, mixed / kLayouts == 2 ? other : first};
          const auto go = dtype == kFloat32   ? run<float>
                          : dtype == kFloat64 ? run<double>
                          : dtype == kBfloat16 ? run<Bfloat16>
                                               : run<Float16>;
          ++done;
          if (go(c, Dtype(dtype), layouts)) continue;
          ++failed;
          printf("%s: wrong at %s, %s %s %s, case %d\n", isa, kDtypeNames[dtype], kLayoutNames[layouts[0]],
                 kLayoutNames[layouts[1]], kLayoutNames[layouts[2]], int(&c - kCases));
        }
    printf("%s: %d problems\n", isa, done - before);
  }
  printf("%d failed of %d\n", failed, done);
  return failed != 0;
}
