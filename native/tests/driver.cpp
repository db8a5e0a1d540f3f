// Runs every kernel over odd shapes, layouts, types and numbers of threads against plain loops in double. No torch: it
// is what the memory checkers run. Buffers are exactly as large as their tensors, so that one element beyond them is
// caught.
//
// Usage: driver [--guard-pages] [--same-layouts] [instruction set ...]; without one, all that the machine has.
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#include "checks.h"

extern "C" const char* cotnet_choose_isa(const char*);

bool guard_pages = false, same_layouts = false;

namespace {

struct Mapping {
  void* data;
  char* base;
  size_t bytes;
};
std::vector<Mapping> mappings;

}  // namespace

void* take_memory(size_t bytes) {
  if (!guard_pages) return malloc(bytes);
  static bool behind = false;
  behind = !behind;
  const size_t page = size_t(sysconf(_SC_PAGESIZE)), inside = (bytes + page - 1) / page * page, all = inside + 2 * page;
  void* mapped = mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) abort();
  char* base = static_cast<char*>(mapped);
  if (inside > 0 && mprotect(base + page, inside, PROT_READ | PROT_WRITE) != 0) abort();
  mappings.push_back({behind ? base + page : base + page + inside - bytes, base, all});
  return mappings.back().data;
}

void free_memory(void* memory) {
  if (!guard_pages) return free(memory);
  for (size_t i = mappings.size(); i-- > 0;)
    if (mappings[i].data == memory) {
      munmap(mappings[i].base, mappings[i].bytes);
      mappings.erase(mappings.begin() + long(i));
      return;
    }
  abort();
}

double random_unit() {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return double(state >> 8) / (1 << 23) - 1;
}

int main(int argc, char** argv) {
  for (; argc > 1 && argv[1][0] == '-'; --argc, ++argv) {
    guard_pages |= strcmp(argv[1], "--guard-pages") == 0;
    same_layouts |= strcmp(argv[1], "--same-layouts") == 0;
  }
  const std::vector<const char*> all{"baseline", "avx2",        "avx_vnni",
                                     "avx512",   "avx512_vnni", "avx512_bf16"};
  const std::vector<const char*> wanted = argc > 1 ? std::vector<const char*>(argv + 1, argv + argc) : all;
  bool failed = false;
  for (const char* isa : wanted) {
    if (cotnet_choose_isa(isa) == nullptr) {
      printf("%s: not on this machine\n", isa);
      continue;
    }
    Count aggregate, norm, fused, conv, int8;
    check_aggregate(isa, aggregate);
    check_batch_norm_act(isa, norm);
    check_fused_cot(isa, fused);
    check_conv3x3(isa, conv);
    check_int8(isa, int8);
    printf("%s: wrong %d of %d aggregations, %d of %d BatchNorms, %d of %d fused layers, %d of %d convolutions, %d of %d on bytes\n", isa,
           aggregate.failed, aggregate.done, norm.failed, norm.done, fused.failed, fused.done, conv.failed, conv.done,
           int8.failed, int8.done);
    failed |= aggregate.failed + norm.failed + fused.failed + conv.failed + int8.failed > 0;
  }
  return failed;
}
