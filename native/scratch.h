// Memory of one thread for one call.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "gap.h"

namespace {

// Every piece is aligned to a cache line, starts as zeros and has slack for a vector that reaches past its end.
// A failure shows in `failed`. Small pieces lie in the object itself, on the stack: quicker than the heap, where pieces
// freed just behind the output would keep its space from being taken again by the next output.
class Scratch {
 public:
  Scratch() { forbid(small_, sizeof small_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    allow(small_, sizeof small_);
    for (int i = 0; i < count_; ++i) free(pieces_[i]);
  }
  template <class E> E* take(int64_t elements) {
    constexpr int64_t slack = 256;
    int64_t bytes;
    if (__builtin_mul_overflow(elements, int64_t(sizeof(E)), &bytes) || bytes > INT64_MAX / 2) failed = true;
    if (failed) return nullptr;
    const size_t size = size_t((bytes + slack + 63) / 64 * 64);
    void* piece = small_ + used_;
    if (size + kGap <= sizeof small_ - used_) {
      allow(piece, size);
      used_ += size + kGap;
    } else {
      piece = aligned_alloc(64, size);
      if (piece == nullptr) {
        failed = true;
        return nullptr;
      }
      pieces_[count_++] = piece;
    }
    memset(piece, 0, size);
    return static_cast<E*>(piece);
  }
  bool failed = false;

 private:
  alignas(64) char small_[8 << 10];
  size_t used_ = 0;
  void* pieces_[16];
  int count_ = 0;
};

}  // namespace
