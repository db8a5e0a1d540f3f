// BatchNorm in training, with the activation and the residual that follow it, and the gradient of it all.
//
// Both passes go over the map twice: to sum, then to write. What lies between the norm's input and the activation's output
// is computed once more in the backward pass, where it costs less than the memory that would hold it.
#include "batch_norm.h"

#include <cmath>

#include "isa.h"
#include "parallel.h"
#include "scratch.h"
#include "vector_math.h"

namespace {

COTNET_INLINE Floats relu(Floats z) { return z < 0.0f ? Floats{} : z; }  // keeps NaN
// The gradient by z of relu(z) or silu(z), times `grad`.
COTNET_INLINE Floats relu_gradient(Floats z, Floats grad) { return z <= 0.0f ? Floats{} : grad; }
COTNET_INLINE Floats silu_gradient(Floats z, Floats grad) {
  const Floats s = sigmoid(z);
  return grad * s * (1.0f + z * (1.0f - s));
}

template <class T, Finish FINISH> class BatchNorm {
 public:
  explicit BatchNorm(const BatchNormProblem& p)
      : p_(p),
        rows_(p.rows),
        channels_(p.channels),
        chunk_(rows_of_a_chunk(p.channels)),
        chunks_((p.rows + chunk_ - 1) / chunk_),
        x_(static_cast<const T*>(p.x)),
        passes_(scratch_, p.rows * p.channels < kSmall ? 1 : p.threads, chunks_) {
    partial_ = scratch_.take<float>(chunks_ * 3 * channels_);
    sums_ = scratch_.take<double>(2 * channels_);
    scale_ = scratch_.take<float>(channels_), shift_ = scratch_.take<float>(channels_);
    centre_ = scratch_.take<float>(channels_), slope_ = scratch_.take<float>(channels_);
  }

  int forward() {
    if (scratch_.failed) return kOutOfMemory;
    over_chunks([this](int64_t chunk, int64_t first, int64_t last) { sum_values(chunk, first, last); });
    find_statistics();
    find_scale();
    over_chunks([this](int64_t, int64_t first, int64_t last) { write_output(first, last); });
    return kDone;
  }

  int backward() {
    if (scratch_.failed) return kOutOfMemory;
    find_scale();
    over_chunks([this](int64_t chunk, int64_t first, int64_t last) { sum_gradients(chunk, first, last); });
    find_gradients();
    over_chunks([this](int64_t, int64_t first, int64_t last) { write_gradient(first, last); });
    return kDone;
  }

 private:
  static constexpr int64_t kSmall = 1 << 15;  // elements, below which a second thread costs more than it brings
  static constexpr int64_t kTogether = 4;  // rows side by side, so that a channel's sums and factors stay in registers

  // Depends on sizes alone, so that results do not depend on the number of threads.
  static int64_t rows_of_a_chunk(int64_t channels) {
    const int64_t rows = (int64_t(1) << 15) / channels / kTogether * kTogether;
    return rows < 32 ? 32 : rows;
  }
  template <class Work> void over_chunks(const Work& work) {
    passes_.run([&](int64_t chunk) { work(chunk, chunk * chunk_, end_of(chunk)); });
  }
  int64_t end_of(int64_t chunk) const { return (chunk + 1) * chunk_ < rows_ ? (chunk + 1) * chunk_ : rows_; }

  // work(at, c, count, load, store): the vectors at channel c of `count` rows, the first of them at `at`. Results are stored
  // after all rows are loaded: where rows are a multiple of 4 KiB apart, a load waits for a store before it to a row.
  template <class Work> COTNET_INLINE void over_rows(int64_t first, int64_t last, const Work& work) const {
    int64_t r = first;
    for (; r + kTogether <= last; r += kTogether)
      over_vectors(channels_, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
        work(r * channels_ + c, c, std::integral_constant<int, kTogether>(), load, store);
      });
    for (; r < last; ++r)
      over_vectors(channels_, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
        work(r * channels_ + c, c, std::integral_constant<int, 1>(), load, store);
      });
  }

  // Sums relative to the chunk's first row, which lies within the chunk's own spread: nothing cancels.
  void sum_values(int64_t chunk, int64_t first, int64_t last) {
    float *origin = partial_ + chunk * 3 * channels_, *sum = origin + channels_, *square = sum + channels_;
    const T* row = x_ + first * channels_;
    over_vectors(channels_, [&](int64_t c, auto load, auto store) __attribute__((always_inline)) {
      store(origin + c, load(row + c));
    });
    over_rows(first, last, [&](int64_t at, int64_t c, auto count, auto load, auto store) __attribute__((always_inline)) {
      const Floats from = load(origin + c);
      Floats s = load(sum + c), q = load(square + c);
      for (int i = 0; i < count; ++i) {
        const Floats x = load(x_ + at + i * channels_) - from;
        s += x, q += x * x;
      }
      store(sum + c, s), store(square + c, q);
    });
  }

  void find_statistics() {
    double *mean = sums_, *spread = sums_ + channels_;
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
        const double own = sum[c] / count, apart = origin[c] + own - mean[c];
        spread[c] += square[c] - own * sum[c] + count * apart * apart;
      }
    }
    for (int64_t c = 0; c < channels_; ++c) {
      p_.mean[c] = float(mean[c]);
      p_.inverse_std[c] = float(1 / std::sqrt(spread[c] / rows + p_.eps));
      p_.running_mean[c] += float(p_.momentum * (mean[c] - p_.running_mean[c]));
      p_.running_var[c] += float(p_.momentum * (spread[c] / (rows - 1) - p_.running_var[c]));
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
    over_rows(first, last, [&](int64_t at, int64_t c, auto count, auto load, auto store) __attribute__((always_inline)) {
      const Floats scale = load(scale_ + c), shift = load(shift_ + c);
      Floats y[count];
      for (int i = 0; i < count; ++i) {
        const int64_t here = at + i * channels_;
        Floats z = load(x_ + here) * scale + shift;
        if constexpr (FINISH == kAddRelu) z += load(residual + here);
        y[i] = FINISH == kPlain ? z : FINISH == kSilu ? silu(z) : relu(z);
      }
      for (int i = 0; i < count; ++i) store(out + at + i * channels_, y[i]);
    });
  }

  // The gradient by the norm's output.
  template <class Load>
  COTNET_INLINE Floats gradient(int64_t here, Floats x, Floats scale, Floats shift, const Load& load) const {
    const Floats grad = load(static_cast<const T*>(p_.grad_out) + here);
    if constexpr (FINISH == kRelu) return relu_gradient(x * scale + shift, grad);
    if constexpr (FINISH == kSilu) return silu_gradient(x * scale + shift, grad);
    if constexpr (FINISH == kAddRelu) return relu_gradient(load(static_cast<const T*>(p_.out) + here), grad);
    return grad;
  }

  void sum_gradients(int64_t chunk, int64_t first, int64_t last) {
    float *sum = partial_ + chunk * 3 * channels_, *product = sum + channels_;
    T* grad_residual = static_cast<T*>(p_.grad_residual);
    over_rows(first, last, [&](int64_t at, int64_t c, auto count, auto load, auto store) __attribute__((always_inline)) {
      const Floats scale = load(scale_ + c), shift = load(shift_ + c), mean = load(p_.mean + c);
      Floats s = load(sum + c), q = load(product + c);
      Floats grad[count];
      for (int i = 0; i < count; ++i) {
        const int64_t here = at + i * channels_;
        const Floats x = load(x_ + here);
        grad[i] = gradient(here, x, scale, shift, load);
        s += grad[i], q += grad[i] * (x - mean);
      }
      if constexpr (FINISH == kAddRelu)
        for (int i = 0; i < count; ++i) store(grad_residual + at + i * channels_, grad[i]);
      store(sum + c, s), store(product + c, q);
    });
  }

  void find_gradients() {
    double *sums = sums_, *products = sums_ + channels_;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const float *sum = partial_ + chunk * 3 * channels_, *product = sum + channels_;
      for (int64_t c = 0; c < channels_; ++c) sums[c] += sum[c], products[c] += product[c];
    }
    const double rows = double(rows_);
    for (int64_t c = 0; c < channels_; ++c) {
      const double inverse_std = p_.inverse_std[c];
      p_.grad_bias[c] = float(sums[c]);
      p_.grad_weight[c] = float(products[c] * inverse_std);
      centre_[c] = float(sums[c] / rows);
      slope_[c] = float(products[c] / rows * inverse_std * inverse_std);
    }
  }

  void write_gradient(int64_t first, int64_t last) const {
    T* grad_x = static_cast<T*>(p_.grad_x);
    const T* grad_residual = static_cast<const T*>(p_.grad_residual);
    over_rows(first, last, [&](int64_t at, int64_t c, auto count, auto load, auto store) __attribute__((always_inline)) {
      const Floats scale = load(scale_ + c), shift = load(shift_ + c), mean = load(p_.mean + c);
      const Floats centre = load(centre_ + c), slope = load(slope_ + c);
      Floats result[count];
      for (int i = 0; i < count; ++i) {
        const int64_t here = at + i * channels_;
        const Floats x = load(x_ + here);
        Floats grad;
        if constexpr (FINISH == kAddRelu) grad = load(grad_residual + here);
        else grad = gradient(here, x, scale, shift, load);
        result[i] = (grad - centre - (x - mean) * slope) * scale;
      }
      for (int i = 0; i < count; ++i) store(grad_x + at + i * channels_, result[i]);
    });
  }

  const BatchNormProblem& p_;
  int64_t rows_, channels_, chunk_, chunks_;
  const T* x_;
  Scratch scratch_;
  Passes passes_;
  float* partial_;  // [chunks, 3, channels]
  double* sums_;    // [2, channels]
  float *scale_, *shift_, *centre_, *slope_;
};

template <class T, Finish FINISH> int finished(const BatchNormProblem& p, bool forward) {
  BatchNorm<T, FINISH> norm(p);
  return forward ? norm.forward() : norm.backward();
}

template <class T> int typed(const BatchNormProblem& p, bool forward) {
  switch (p.finish) {
    case kRelu: return finished<T, kRelu>(p, forward);
    case kSilu: return finished<T, kSilu>(p, forward);
    case kAddRelu: return finished<T, kAddRelu>(p, forward);
  }
  return finished<T, kPlain>(p, forward);
}

int run(const BatchNormProblem& p, bool forward) {
  return by_dtype<float, Bfloat16, Float16>(p.dtype, [&](auto t) { return typed<decltype(t)>(p, forward); });
}

}  // namespace

namespace COTNET_ISA {
int batch_norm_act(const BatchNormProblem* p) { return run(*p, true); }
int batch_norm_act_backward(const BatchNormProblem* p) { return run(*p, false); }
}
