// Memory that a thread keeps from call to call: fresh pages for every call would cost more than some calls.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "gap.h"

namespace {

class Workspace {
 public:
  ~Workspace() { free(memory_); }
  // At least `bytes`, of any content, until the next call; 0 where there is no memory.
  uintptr_t reserve(int64_t bytes) {
    if (bytes > bytes_) {
      free(memory_);
      memory_ = aligned_alloc(64, size_t((bytes + 63) / 64 * 64));
      bytes_ = memory_ == nullptr ? 0 : bytes;
    }
    return reinterpret_cast<uintptr_t>(memory_);
  }

 private:
  void* memory_ = nullptr;
  int64_t bytes_ = 0;
};

// A thread has one for each user, for a layer's is in use while its convolution takes its own.
enum WorkspaceUser { kLayer, kStaticContext, kConvolution };

template <WorkspaceUser USER> Workspace& workspace() {
  static thread_local Workspace own;
  return own;
}

// Divides memory into pieces; with a base of 0 it only counts.
struct Carver {
  uintptr_t base;
  int64_t used = 0;

  template <class E> E* take(int64_t elements) {
    E* piece = reinterpret_cast<E*>(base + uintptr_t(used));
    const int64_t size = (elements * int64_t(sizeof(E)) + 127) / 64 * 64;
    if (base != 0) allow(piece, size_t(size)), forbid(reinterpret_cast<char*>(piece) + size, kGap);
    used += size + kGap;
    return piece;
  }
};

}  // namespace
