// BatchNorm in training, with the activation and the residual that follow it, and the gradient of it all.
//
// Both passes go over the map twice: to sum, then to write. What lies between the norm's input and the activation's
// output is computed once more in the backward pass, where it costs less than the memory that would hold it.
#include <cmath>

#include "../runtime/parallel.h"
#include "../simd/dtype.h"
#include "../simd/vector_math.h"

namespace {

COTNET_INLINE Floats relu(Floats z) { return z < 0.0f ? Floats{} : z; }  // keeps NaN
// The gradient by z of relu(z) or silu(z), times `grad`.
COTNET_INLINE Floats relu_gradient(Floats z, Floats grad) { return z <= 0.0f ? Floats{} : grad; }
COTNET_INLINE Floats silu_gradient(Floats z, Floats grad) {
  const Floats s = sigmoid(z);
  return grad * s * (1.0f + z * (1.0f - s));
}

template <class T, Activation ACTIVATION> class BatchNormAct {
 public:
  explicit BatchNormAct(const BatchNormActProblem& p)
      : p_(p),
        rows_(p.rows),
        channels_(p.channels),
        chunk_(rows_per_chunk(p.channels)),
        chunks_((p.rows + chunk_ - 1) / chunk_),
        x_(static_cast<const T*>(p.x)),
        passes_(scratch_, p.rows * p.channels < kSmall ? 1 : p.num_threads, chunks_) {
    partial_ = scratch_.take<float>(chunks_ * 3 * channels_);
    sums_ = scratch_.take<double>(2 * channels_);
    scale_ = scratch_.take<float>(channels_), shift_ = scratch_.take<float>(channels_);
    center_ = scratch_.take<float>(channels_), slope_ = scratch_.take<float>(channels_);
  }

  int forward() {
    if (scratch_.failed) return kOutOfMemory;
    for_each_chunk([this](int64_t chunk, int64_t first, int64_t last) { sum_values(chunk, first, last); });
    find_statistics();
    find_scale();
    for_each_chunk([this](int64_t, int64_t first, int64_t last) { write_output(first, last); });
    return kOk;
  }

  int backward() {
    if (scratch_.failed) return kOutOfMemory;
    find_scale();
    for_each_chunk([this](int64_t chunk, int64_t first, int64_t last) { sum_gradients(chunk, first, last); });
    find_gradients();
    for_each_chunk([this](int64_t, int64_t first, int64_t last) { write_gradient(first, last); });
    return kOk;
  }

 private:
  static constexpr int64_t kSmall = 1 << 15;  // elements, below which a second thread costs more than it brings
  static constexpr int64_t kRowsAtOnce =
      4;  // rows side by side, so that a channel's sums and factors stay in registers

  // Depends on sizes alone, so that results do not depend on the number of threads.
  static int64_t rows_per_chunk(int64_t channels) {
    const int64_t rows = (int64_t(1) << 15) / channels / kRowsAtOnce * kRowsAtOnce;
    return rows < 32 ? 32 : rows;
  }
  template <class Body> void for_each_chunk(const Body& body) {
    passes_.run([&](int64_t chunk) { body(chunk, chunk * chunk_, end_of(chunk)); });
  }
  int64_t end_of(int64_t chunk) const { return (chunk + 1) * chunk_ < rows_ ? (chunk + 1) * chunk_ : rows_; }

  // body(at, c, count, load, store): the vectors at channel c of `count` rows, the first of them at `at`. Results are
  // stored after all rows are loaded: where rows are a multiple of 4 KiB apart, a load waits for a store before it to a
  // row.
  template <class Body> COTNET_INLINE void for_each_row(int64_t first, int64_t last, const Body& body) const {
    int64_t r = first;
    for (; r + kRowsAtOnce <= last; r += kRowsAtOnce)
      for_each_vector(channels_, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
        body(r * channels_ + c, c, std::integral_constant<int, kRowsAtOnce>(), load, store);
      });
    for (; r < last; ++r)
      for_each_vector(channels_, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
        body(r * channels_ + c, c, std::integral_constant<int, 1>(), load, store);
      });
  }

  // Sums relative to the chunk's first row, which is about as far from their mean as any other: nothing cancels.
  void sum_values(int64_t chunk, int64_t first, int64_t last) {
    float *origin = partial_ + chunk * 3 * channels_, *sum = origin + channels_, *square = sum + channels_;
    const T* row = x_ + first * channels_;
    for_each_vector(channels_, [&](int64_t c, auto load, auto store)
                                   __attribute__((always_inline)) { store(origin + c, load(row + c)); });
    for_each_row(first, last,
                 [&](int64_t at, int64_t c, auto count, auto load, auto store) __attribute__((always_inline)) {
                   const Floats from = load(origin + c);
                   Floats s = load(sum + c), q = load(square + c);
                   for (int i = 0; i < count; ++i) {
                     const Floats x = load(x_ + at + i * channels_) - from;
                     s += x;
                     q += x * x;
                   }
                   store(sum + c, s);
                   store(square + c, q);
                 });
  }

  void find_statistics() {
    double *mean = sums_, *squares = sums_ + channels_;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const float *origin = partial_ + chunk * 3 * channels_, *sum = origin + channels_;
      const double count = double(end_of(chunk) - chunk * chunk_);
      for (int64_t c = 0; c < channels_; ++c) mean[c] += count * origin[c] + sum[c];
    }
    const double rows = double(rows_);
    for (int64_t c = 0; c < channels_; ++c) mean[c] /= rows;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const float *origin = partial_ + chunk * 3 * channels_, *sum = origin + channels_, *square = sum + channels_;
      const double count = double(end_of(chunk) - chunk * chunk_);
      for (int64_t c = 0; c < channels_; ++c) {
        const double offset = sum[c] / count, distance = origin[c] + offset - mean[c];
        squares[c] += square[c] - offset * sum[c] + count * distance * distance;
      }
    }
    for (int64_t c = 0; c < channels_; ++c) {
      p_.mean[c] = float(mean[c]);
      p_.inverse_std[c] = float(1 / std::sqrt(squares[c] / rows + p_.eps));
      p_.running_mean[c] += float(p_.momentum * (mean[c] - p_.running_mean[c]));
      p_.running_var[c] += float(p_.momentum * (squares[c] / (rows - 1) - p_.running_var[c]));
    }
  }

  // The norm is z = x * scale + shift.
  void find_scale() {
    for (int64_t c = 0; c < channels_; ++c) {
      scale_[c] = p_.weight[c] * p_.inverse_std[c];
      shift_[c] = p_.bias[c] - p_.mean[c] * scale_[c];
    }
  }

  void write_output(int64_t first, int64_t last) const {
    T* out = static_cast<T*>(p_.out);
    const T* residual = static_cast<const T*>(p_.residual);
    for_each_row(first, last,
                 [&](int64_t at, int64_t c, auto count, auto load, auto store) __attribute__((always_inline)) {
                   const Floats scale = load(scale_ + c), shift = load(shift_ + c);
                   Floats y[count];
                   for (int i = 0; i < count; ++i) {
                     const int64_t here = at + i * channels_;
                     Floats z = load(x_ + here) * scale + shift;
                     if constexpr (ACTIVATION == kAddRelu) z += load(residual + here);
                     y[i] = ACTIVATION == kIdentity ? z : ACTIVATION == kSilu ? silu(z) : relu(z);
                   }
                   for (int i = 0; i < count; ++i) store(out + at + i * channels_, y[i]);
                 });
  }

  // The gradient by the norm's output.
  template <class Load>
  COTNET_INLINE Floats gradient(int64_t here, Floats x, Floats scale, Floats shift, const Load& load) const {
    const Floats grad = load(static_cast<const T*>(p_.grad_out) + here);
    if constexpr (ACTIVATION == kRelu) return relu_gradient(x * scale + shift, grad);
    if constexpr (ACTIVATION == kSilu) return silu_gradient(x * scale + shift, grad);
    if constexpr (ACTIVATION == kAddRelu) return relu_gradient(load(static_cast<const T*>(p_.out) + here), grad);
    return grad;
  }

  void sum_gradients(int64_t chunk, int64_t first, int64_t last) {
    float *sum = partial_ + chunk * 3 * channels_, *product = sum + channels_;
    T* grad_residual = static_cast<T*>(p_.grad_residual);
    for_each_row(first, last,
                 [&](int64_t at, int64_t c, auto count, auto load, auto store) __attribute__((always_inline)) {
                   const Floats scale = load(scale_ + c), shift = load(shift_ + c), mean = load(p_.mean + c);
                   Floats s = load(sum + c), q = load(product + c);
                   Floats grad[count];
                   for (int i = 0; i < count; ++i) {
                     const int64_t here = at + i * channels_;
                     const Floats x = load(x_ + here);
                     grad[i] = gradient(here, x, scale, shift, load);
                     s += grad[i];
                     q += grad[i] * (x - mean);
                   }
                   if constexpr (ACTIVATION == kAddRelu)
                     for (int i = 0; i < count; ++i) store(grad_residual + at + i * channels_, grad[i]);
                   store(sum + c, s);
                   store(product + c, q);
                 });
  }

  void find_gradients() {
    double *sums = sums_, *products = sums_ + channels_;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const float *sum = partial_ + chunk * 3 * channels_, *product = sum + channels_;
      for (int64_t c = 0; c < channels_; ++c) {
        sums[c] += sum[c];
        products[c] += product[c];
      }
    }
    const double rows = double(rows_);
    for (int64_t c = 0; c < channels_; ++c) {
      const double inverse_std = p_.inverse_std[c];
      p_.grad_bias[c] = float(sums[c]);
      p_.grad_weight[c] = float(products[c] * inverse_std);
      center_[c] = float(sums[c] / rows);
      slope_[c] = float(products[c] / rows * inverse_std * inverse_std);
    }
  }

  void write_gradient(int64_t first, int64_t last) const {
    T* grad_x = static_cast<T*>(p_.grad_x);
    const T* grad_residual = static_cast<const T*>(p_.grad_residual);
    for_each_row(first, last,
                 [&](int64_t at, int64_t c, auto count, auto load, auto store) __attribute__((always_inline)) {
                   const Floats scale = load(scale_ + c), shift = load(shift_ + c), mean = load(p_.mean + c);
                   const Floats center = load(center_ + c), slope = load(slope_ + c);
                   Floats result[count];
                   for (int i = 0; i < count; ++i) {
                     const int64_t here = at + i * channels_;
                     const Floats x = load(x_ + here);
                     Floats grad;
                     if constexpr (ACTIVATION == kAddRelu) grad = load(grad_residual + here);
                     else grad = gradient(here, x, scale, shift, load);
                     result[i] = (grad - center - (x - mean) * slope) * scale;
                   }
                   for (int i = 0; i < count; ++i) store(grad_x + at + i * channels_, result[i]);
                 });
  }

  const BatchNormActProblem& p_;
  int64_t rows_, channels_, chunk_, chunks_;
  const T* x_;
  Scratch scratch_;
  AlternatingPasses passes_;
  float* partial_;  // [chunks, 3, channels]
  double* sums_;    // [2, channels]
  float *scale_, *shift_, *center_, *slope_;
};

template <class T, Activation ACTIVATION> int run_with(const BatchNormActProblem& p, bool forward) {
  BatchNormAct<T, ACTIVATION> norm(p);
  return forward ? norm.forward() : norm.backward();
}

template <class T> int run_activation(const BatchNormActProblem& p, bool forward) {
  switch (p.activation) {
    case kRelu: return run_with<T, kRelu>(p, forward);
    case kSilu: return run_with<T, kSilu>(p, forward);
    case kAddRelu: return run_with<T, kAddRelu>(p, forward);
  }
  return run_with<T, kIdentity>(p, forward);
}

int run(const BatchNormActProblem& p, bool forward) {
  return for_dtype<float, Bfloat16, Float16>(p.dtype,
                                             [&](auto zero) { return run_activation<decltype(zero)>(p, forward); });
}

}  // namespace

namespace COTNET_ISA {
int batch_norm_act(const BatchNormActProblem* p) { return run(*p, true); }
int batch_norm_act_backward(const BatchNormActProblem* p) { return run(*p, false); }
}
