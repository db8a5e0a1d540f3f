// What the driver's parts share: buffers that show an access beyond their ends, numbers, and the comparison.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "../abi.h"
#include "../simd/vector.h"

namespace {

const char* const kDtypeNames[] = {"float32", "float64", "bfloat16", "float16"};

}  // namespace

// How many problems of an instruction set were run, and how many of them came out wrong.
struct Count {
  int done = 0, failed = 0;
};

void check_aggregate(const char* isa, Count& count);
void check_batch_norm_act(const char* isa, Count& count);
void check_conv3x3(const char* isa, Count& count);
void check_fused_cot(const char* isa, Count& count);
void check_int8(const char* isa, Count& count);

// Where buffers lie: on the heap, whose ends the memory checkers watch; or, in turn, right before and right behind a
// page that must not be touched, which the machine itself watches, whatever instruction reads.
extern bool guard_pages;
// Whether the tensors of a problem all have the same layout, for a slow checker.
extern bool same_layouts;
void* take_memory(size_t bytes);
void free_memory(void* memory);

// A number within [-1, 1).
double random_unit();

// `count` elements in memory of exactly that size.
template <class T> class Buffer {
 public:
  explicit Buffer(int64_t count) : count_(count), data_(static_cast<T*>(take_memory(size_t(count) * sizeof(T)))) {
    for (int64_t i = 0; i < count; ++i) data_[i] = narrow<T>(Accumulator<T>(NAN));
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { free_memory(data_); }
  void fill(double scale = 1, double offset = 0) {
    for (int64_t i = 0; i < count_; ++i) data_[i] = narrow<T>(Accumulator<T>(offset + scale * random_unit()));
  }
  double operator[](int64_t i) const { return widen(data_[i]); }
  T* data() const { return data_; }
  int64_t count() const { return count_; }

 private:
  int64_t count_;
  T* data_;
};

// The largest excess of an error over its tolerance; NaN is one.
struct Largest {
  double excess = -1;
  void add(double actual, double exact, double tolerance) {
    const double e = std::fabs(actual - exact) - tolerance;
    if (!(e <= excess)) excess = e;
  }
  bool within() const { return excess <= 0; }
};

// The largest relative error of rounding to a type.
inline double rounding_of(Dtype dtype) {
  return dtype == kFloat32 ? 0x1p-24 : dtype == kFloat64 ? 0x1p-53 : dtype == kBfloat16 ? 0x1p-8 : 0x1p-11;
}
