// BatchNorm with its activation and residual, and the gradient of it.
#include <algorithm>

#include "checks.h"

extern "C" {
int cotnet_batch_norm_act(const BatchNormActProblem*);
int cotnet_batch_norm_act_backward(const BatchNormActProblem*);
}

namespace {

struct Case {
  int64_t rows, channels;
};

// The last ones are large enough for a second thread.
const Case kCases[] = {{2, 1}, {5, 3}, {7, 16}, {13, 33}, {33, 8}, {3, 1040}, {1100, 33}, {130, 300}};

template <class T> bool run(const Case& c, Dtype dtype, Activation activation, int threads) {
  const int64_t size = c.rows * c.channels;
  const bool adds = activation == kAddRelu;
  Buffer<T> x(size), residual(adds ? size : 0), out(size), grad_out(size), grad_x(size), grad_residual(adds ? size : 0);
  Buffer<float> weight(c.channels), bias(c.channels), mean(c.channels), inverse_std(c.channels),
      running_mean(c.channels), running_var(c.channels), grad_weight(c.channels), grad_bias(c.channels);
  x.fill(2, 0.5), residual.fill(), grad_out.fill(), weight.fill(0.5, 1), bias.fill(), running_mean.fill(),
      running_var.fill();
  const double momentum = 0.25, eps = 1e-2;
  std::vector<double> old_mean, old_var;
  for (int64_t i = 0; i < c.channels; ++i) old_mean.push_back(running_mean[i]), old_var.push_back(running_var[i]);
  const BatchNormActProblem p{dtype,
                              threads,
                              activation,
                              c.rows,
                              c.channels,
                              eps,
                              momentum,
                              x.data(),
                              residual.data(),
                              out.data(),
                              weight.data(),
                              bias.data(),
                              mean.data(),
                              inverse_std.data(),
                              running_mean.data(),
                              running_var.data(),
                              grad_out.data(),
                              grad_x.data(),
                              grad_residual.data(),
                              grad_weight.data(),
                              grad_bias.data()};
  if (cotnet_batch_norm_act(&p) != kOk || cotnet_batch_norm_act_backward(&p) != kOk) return false;

  const double n = double(c.rows), sums = 0x1p-20 * std::sqrt(n) * 4, once = rounding_of(dtype) * 16 + sums;
  Largest largest;
  for (int64_t i = 0; i < c.channels; ++i) {
    double m = 0, v = 0, s = 0, q = 0;
    for (int64_t r = 0; r < c.rows; ++r) m += x[r * c.channels + i] / n;
    for (int64_t r = 0; r < c.rows; ++r) v += std::pow(x[r * c.channels + i] - m, 2) / n;
    largest.add(running_mean[i], old_mean[size_t(i)] + momentum * (m - old_mean[size_t(i)]), sums);
    largest.add(running_var[i], old_var[size_t(i)] + momentum * (v * n / (n - 1) - old_var[size_t(i)]), sums * 8);
    const double inverse = 1 / std::sqrt(v + eps);
    std::vector<double> grad(size_t(c.rows));
    for (int64_t r = 0; r < c.rows; ++r) {
      const int64_t at = r * c.channels + i;
      const double normal = (x[at] - m) * inverse, z = normal * weight[i] + bias[i] + (adds ? residual[at] : 0);
      const double sigmoid = 1 / (1 + std::exp(-z)), y = activation == kIdentity ? z
                                                         : activation == kSilu   ? z * sigmoid
                                                                                 : std::max(z, 0.0);
      largest.add(out[at], y, once);
      // Which side of zero the kernel was on is a matter of roundings.
      const bool on = adds || activation == kRelu ? out[at] > 0 : true;
      grad[size_t(r)] = on ? grad_out[at] * (activation == kSilu ? sigmoid * (1 + z * (1 - sigmoid)) : 1) : 0;
      s += grad[size_t(r)], q += grad[size_t(r)] * normal;
    }
    largest.add(grad_bias[i], s, sums * std::sqrt(n));
    largest.add(grad_weight[i], q, sums * n);
    for (int64_t r = 0; r < c.rows; ++r) {
      const int64_t at = r * c.channels + i;
      const double g = adds ? grad_residual[at] : grad[size_t(r)], normal = (x[at] - m) * inverse;
      if (adds) largest.add(grad_residual[at], grad[size_t(r)], 0);
      largest.add(grad_x[at], (g - s / n - normal * q / n) * inverse * weight[i], once * std::max(1.0, inverse));
    }
  }
  return largest.within();
}

}  // namespace

void check_batch_norm_act(const char* isa, Count& count) {
  for (const Case& c : kCases)
    for (const Dtype dtype : {kFloat32, kBfloat16, kFloat16})
      for (const Activation activation : {kIdentity, kRelu, kSilu, kAddRelu})
        for (int threads = 1; threads <= 2; ++threads) {
          const auto run_case = dtype == kFloat32 ? run<float> : dtype == kBfloat16 ? run<Bfloat16> : run<Float16>;
          ++count.done;
          if (run_case(c, dtype, activation, threads)) continue;
          ++count.failed;
          printf("%s: wrong BatchNorm, %s, case %d, activation %d, %d threads\n", isa, kDtypeNames[dtype],
                 int(&c - kCases), int(activation), threads);
        }
}
