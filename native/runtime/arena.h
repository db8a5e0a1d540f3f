// Where kernels get their memory.
//
// Scratch          zeros, for one thread and one call
// workspace<USER>  memory of any content that a thread keeps from call to call, divided by a BumpAllocator
//
// In a build under AddressSanitizer a red zone lies behind every piece: whoever touches one is caught.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kRedZone = 64;
inline void poison(const void* at, size_t bytes) { __asan_poison_memory_region(at, bytes); }
inline void unpoison(const void* at, size_t bytes) { __asan_unpoison_memory_region(at, bytes); }
#else
constexpr int64_t kRedZone = 0;
inline void poison(const void*, size_t) {}
inline void unpoison(const void*, size_t) {}
#endif

// Every piece is aligned to a cache line, starts as zeros and has slack for a vector that reaches past its end.
// A failure shows in `failed`. Small pieces lie in the object itself, on the stack: quicker than the heap, where pieces
// freed just behind the output would keep its space from being taken again by the next output.
class Scratch {
 public:
  Scratch() { poison(small_, sizeof small_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    unpoison(small_, sizeof small_);
    for (int i = 0; i < count_; ++i) free(pieces_[i]);
  }
  template <class E> E* take(int64_t elements) {
    constexpr int64_t slack = 256;
    int64_t bytes;
    if (__builtin_mul_overflow(elements, int64_t(sizeof(E)), &bytes) || bytes > INT64_MAX / 2) failed = true;
    if (failed) return nullptr;
    const size_t size = size_t((bytes + slack + 63) / 64 * 64);
    void* piece = small_ + used_;
    if (size + kRedZone <= sizeof small_ - used_) {
      unpoison(piece, size);
      used_ += size + kRedZone;
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

// Fresh pages for every call would cost more than some calls.
class Workspace {
 public:
  ~Workspace() { free(memory_); }
  // The address of at least `bytes`, valid until the next call; 0 where there is no memory.
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

// A thread has one for each user: a layer's is in use while the layer's convolution takes its own.
enum WorkspaceUser { kLayer, kStaticContext, kConvolution };

template <WorkspaceUser USER> Workspace& workspace() {
  static thread_local Workspace of_thread;
  return of_thread;
}

// Divides memory into pieces from its beginning on; with a base of 0 it only counts the bytes that they take.
struct BumpAllocator {
  uintptr_t base;
  int64_t used = 0;

  template <class E> E* take(int64_t elements) {
    E* piece = reinterpret_cast<E*>(base + uintptr_t(used));
    const int64_t size = (elements * int64_t(sizeof(E)) + 127) / 64 * 64;
    if (base != 0) {
      unpoison(piece, size_t(size));
      poison(reinterpret_cast<char*>(piece) + size, kRedZone);
    }
    used += size + kRedZone;
    return piece;
  }
};

}  // namespace
