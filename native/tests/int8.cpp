// The kernels for bytes: convolution, pooling and quantization against plain loops in integers, the CoT layer against
// itself on one thread (tests/ops/int8_cot compares it with its reference).
#include <algorithm>

#include "checks.h"

extern "C" int cotnet_int8_conv(const Int8ConvProblem*);
extern "C" int cotnet_int8_cot(const Int8CotProblem*);
extern "C" int cotnet_int8_pool(const Int8PoolProblem*);
extern "C" int cotnet_int8_quantize(const Int8QuantizeProblem*);

namespace {

// `count` integers in memory of exactly that size, from low to high.
template <class T> class Integers {
 public:
  Integers(int64_t count, int64_t low, int64_t high)
      : count_(count), data_(static_cast<T*>(take_memory(size_t(count) * sizeof(T)))) {
    for (int64_t i = 0; i < count; ++i) data_[i] = T(low + std::llround((random_unit() + 1) / 2 * double(high - low)));
  }
  Integers(const Integers&) = delete;
  ~Integers() { free_memory(data_); }
  T& operator[](int64_t i) const { return data_[i]; }
  T* data() const { return data_; }
  bool operator==(const Integers& other) const { return std::equal(data_, data_ + count_, other.data_); }

 private:
  int64_t count_;
  T* data_;
};

uint8_t to_byte(float y, int64_t zero, int64_t lowest) {
  return uint8_t(std::clamp(std::nearbyint(double(y)) + double(zero), double(lowest), 255.0));
}

int64_t panel_bytes(int64_t groups, int64_t out, int64_t taps, int64_t in) {
  return groups * ((out + 31) / 32) * 32 * taps * ((in + 3) / 4 * 4);
}

struct Case {
  int64_t batch, groups, in, out, height, width, kernel, stride, padding, dilation;  // channels of a group
};

const Case kCases[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 1},    {2, 1, 5, 3, 3, 2, 1, 1, 0, 1},    {1, 4, 3, 2, 13, 1, 3, 1, 1, 1},
    {2, 1, 17, 33, 7, 5, 3, 1, 1, 1},  {1, 1, 64, 40, 9, 13, 1, 1, 0, 1}, {1, 2, 12, 20, 13, 17, 3, 2, 1, 1},
    {3, 1, 3, 16, 15, 11, 7, 2, 3, 1}, {1, 1, 8, 70, 6, 7, 3, 1, 2, 2},   {2, 4, 16, 32, 25, 23, 3, 1, 1, 1},
    {1, 1, 128, 96, 31, 5, 1, 2, 0, 1},
};

int64_t size_of(int64_t size, const Case& c) {
  return (size + 2 * c.padding - c.dilation * (c.kernel - 1) - 1) / c.stride + 1;
}

bool run_conv(const Case& c, bool relu, bool skips, int threads) {
  const int64_t channels = c.groups * c.in, outputs = c.groups * c.out, taps = c.kernel * c.kernel;
  const int64_t out_h = size_of(c.height, c), out_w = size_of(c.width, c), deep = (c.in + 3) / 4 * 4;
  const int64_t panels = (c.out + 31) / 32, pixels = c.batch * out_h * out_w, in_zero = 7, zero = 9;
  Integers<uint8_t> x(c.batch * c.height * c.width * channels, 0, 255), skip(pixels * outputs, 0, 255);
  Integers<int8_t> weight(outputs * taps * c.in, -127, 127);
  Integers<int8_t> packed(panel_bytes(c.groups, c.out, taps, c.in), 0, 0);
  Integers<int32_t> bias(outputs, -999, 999);
  Buffer<float> multiplier(outputs);
  multiplier.fill(1e-3, 1e-3);
  Integers<uint8_t> out(pixels * outputs, 0, 255);
  for (int64_t o = 0; o < outputs; ++o)
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t i = 0; i < c.in; ++i) {
        const int64_t panel = o / c.out * panels + o % c.out / 32, deepest = t * deep + i;
        packed[((panel * taps * deep / 4 + deepest / 4) * 32 + o % c.out % 32) * 4 + deepest % 4] =
            weight[(o * taps + t) * c.in + i];
      }
  const int64_t lowest = relu ? zero : 0;
  const float skip_multiplier = 0.37f;
  const Int8ConvProblem problem{threads,     c.batch,     channels,        outputs,
                                c.groups,    c.height,    c.width,         out_h,
                                out_w,       c.kernel,    c.kernel,        c.stride,
                                c.stride,    c.padding,   c.padding,       c.dilation,
                                c.dilation,  in_zero,     zero,            lowest,
                                12,          skip_multiplier, x.data(),    packed.data(),
                                bias.data(), multiplier.data(), skips ? skip.data() : nullptr, out.data(),
                                nullptr};
  if (cotnet_int8_conv(&problem) != kOk) return false;

  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t o = 0; o < outputs; ++o) {
      int32_t sum = bias[o];
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t h = p / out_w % out_h * c.stride - c.padding + t / c.kernel * c.dilation;
        const int64_t w = p % out_w * c.stride - c.padding + t % c.kernel * c.dilation;
        const bool inside = h >= 0 && h < c.height && w >= 0 && w < c.width;
        const int64_t from = ((p / (out_h * out_w) * c.height + h) * c.width + w) * channels + o / c.out * c.in;
        for (int64_t i = 0; i < c.in; ++i)
          sum += (inside ? int32_t(x[from + i]) : int32_t(in_zero)) * weight[(o * taps + t) * c.in + i];
      }
      float y = float(sum) * multiplier.data()[o];
      if (skips) y += float(int(skip[p * outputs + o]) - 12) * skip_multiplier;
      if (out[p * outputs + o] != to_byte(y, zero, lowest)) return false;
    }
  return true;
}

bool run_pool(const Case& c, int threads) {
  if (c.dilation != 1 || c.padding > c.kernel / 2) return true;
  const int64_t channels = c.groups * c.in, out_h = size_of(c.height, c), out_w = size_of(c.width, c);
  const int64_t pixels = c.batch * out_h * out_w;
  Integers<uint8_t> x(c.batch * c.height * c.width * channels, 0, 255), out(pixels * channels, 0, 255);
  const Int8PoolProblem problem{threads,  c.batch,  channels,  c.height,  c.width, out_h, out_w, c.kernel, c.kernel,
                                c.stride, c.stride, c.padding, c.padding, 3,       1,     0,     x.data(), out.data()};
  if (cotnet_int8_pool(&problem) != kOk) return false;
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t k = 0; k < channels; ++k) {
      int largest = 0;
      for (int64_t t = 0; t < c.kernel * c.kernel; ++t) {
        const int64_t h = p / out_w % out_h * c.stride - c.padding + t / c.kernel;
        const int64_t w = p % out_w * c.stride - c.padding + t % c.kernel;
        if (h < 0 || h >= c.height || w < 0 || w >= c.width) continue;
        largest = std::max(largest, int(x[((p / (out_h * out_w) * c.height + h) * c.width + w) * channels + k]));
      }
      if (out[p * channels + k] != largest) return false;
    }
  return true;
}

bool run_quantize(const Case& c, bool last, int threads) {
  const int64_t channels = c.groups * c.in, pixels = c.height * c.width;
  Buffer<float> x(c.batch * channels * pixels);
  x.fill(20);
  Integers<uint8_t> out(c.batch * channels * pixels, 0, 255);
  Int8QuantizeProblem problem{threads, c.batch, channels, c.height, c.width, {}, 30, 10.5f, x.data(), out.data()};
  const int64_t dense[] = {channels * pixels, pixels, c.width, 1};
  const int64_t channels_last[] = {channels * pixels, 1, c.width * channels, channels};
  std::copy_n(last ? channels_last : dense, 4, problem.strides);
  if (cotnet_int8_quantize(&problem) != kOk) return false;
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t k = 0; k < channels; ++k) {
        const int64_t* s = problem.strides;
        const float y = x.data()[n * s[0] + k * s[1] + p / c.width * s[2] + p % c.width * s[3]] * 10.5f;
        if (out[(n * pixels + p) * channels + k] != to_byte(y, 30, 0)) return false;
      }
  return true;
}

struct CotCase {
  int64_t batch, groups, static_groups, channels, heads, hidden, squeezed, height, width, kernel;
};

const CotCase kCotCases[] = {{1, 1, 4, 8, 1, 4, 32, 1, 1, 3},     {2, 1, 4, 16, 2, 8, 32, 3, 5, 3},
                             {1, 2, 8, 32, 4, 16, 32, 7, 13, 3},  {2, 1, 4, 64, 8, 32, 32, 14, 9, 3},
                             {1, 1, 4, 32, 4, 16, 32, 13, 17, 5}, {3, 2, 8, 64, 8, 32, 32, 6, 11, 3}};

bool run_cot(const CotCase& c, bool norm_behind) {
  const int64_t taps = c.kernel * c.kernel, own = c.channels / c.groups, weights = taps * c.heads;
  const int64_t pixels = c.batch * c.height * c.width, in = c.channels / c.static_groups;
  Integers<uint8_t> x(pixels * c.channels, 0, 255), one(pixels * c.channels, 0, 0), two(pixels * c.channels, 0, 0);
  Integers<int8_t> static_weights(panel_bytes(c.static_groups, in, taps, in), -127, 127);
  Integers<int8_t> reduce(panel_bytes(c.groups, c.hidden / c.groups, 2, own), -127, 127);
  Integers<int8_t> expand(panel_bytes(c.groups, weights / c.groups, 1, c.hidden / c.groups), -127, 127);
  Integers<int8_t> project(panel_bytes(c.groups, own, 1, own), -127, 127);
  Integers<int32_t> static_bias(c.channels, -99, 99), reduce_bias(c.hidden, -99, 99), expand_bias(weights, -99, 99),
      project_bias(c.channels, -99, 99);
  Buffer<float> static_multiplier(c.channels), reduce_multiplier(c.hidden), expand_multiplier(weights),
      project_multiplier(c.channels), norm_weight(weights), norm_bias(weights), dynamic_bias(c.channels),
      squeeze(c.squeezed * c.channels), squeeze_bias(c.squeezed), excite(c.channels * c.squeezed),
      excite_bias(c.channels), out_scale(c.channels), out_bias(c.channels);
  for (Buffer<float>* b : {&static_multiplier, &reduce_multiplier, &expand_multiplier, &project_multiplier})
    b->fill(1e-3, 1e-3);
  for (Buffer<float>* b : {&norm_weight, &norm_bias, &dynamic_bias, &squeeze, &squeeze_bias, &excite, &excite_bias,
                           &out_scale, &out_bias})
    b->fill();
  for (int threads = 1; threads <= 2; ++threads) {
    const Int8CotProblem problem{threads,
                                 c.kernel,
                                 1,
                                 c.groups,
                                 c.static_groups,
                                 c.batch,
                                 c.channels,
                                 c.heads,
                                 c.height,
                                 c.width,
                                 c.hidden,
                                 c.squeezed,
                                 5,
                                 9,
                                 1e-5,
                                 0.02,
                                 20,
                                 x.data(),
                                 (threads == 1 ? one : two).data(),
                                 static_weights.data(),
                                 static_bias.data(),
                                 static_multiplier.data(),
                                 reduce.data(),
                                 reduce_bias.data(),
                                 reduce_multiplier.data(),
                                 expand.data(),
                                 expand_bias.data(),
                                 expand_multiplier.data(),
                                 project.data(),
                                 project_bias.data(),
                                 project_multiplier.data(),
                                 norm_weight.data(),
                                 norm_bias.data(),
                                 dynamic_bias.data(),
                                 squeeze.data(),
                                 squeeze_bias.data(),
                                 excite.data(),
                                 excite_bias.data(),
                                 norm_behind ? out_scale.data() : nullptr,
                                 norm_behind ? out_bias.data() : nullptr};
    if (cotnet_int8_cot(&problem) != kOk) return false;
  }
  return one == two;
}

void note(Count& count, bool right, const char* isa, const char* what, int number) {
  ++count.done;
  if (right) return;
  ++count.failed;
  printf("%s: wrong %s of bytes, case %d\n", isa, what, number);
}

}  // namespace

void check_int8(const char* isa, Count& count) {
  for (const Case& c : kCases)
    for (int threads = 1; threads <= 2; ++threads) {
      const int number = int(&c - kCases);
      for (int option = 0; option < 4; ++option)
        note(count, run_conv(c, option & 1, option & 2, threads), isa, "convolution", number);
      note(count, run_pool(c, threads), isa, "pooling", number);
      for (int last = 0; last < 2; ++last) note(count, run_quantize(c, last, threads), isa, "quantization", number);
    }
  for (const CotCase& c : kCotCases)
    for (int norm = 0; norm < 2; ++norm) note(count, run_cot(c, norm), isa, "CoT layer", int(&c - kCotCases));
}
