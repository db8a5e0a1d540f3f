// Two OpenMP runtimes in one process would each keep spinning threads on the same cores. torch brings one, under a name
// that differs from wheel to wheel, and loads it globally: it is looked up by symbol, and nothing is linked. Where
// there is none, one thread does the work.
#include "thread_team.h"

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace {

// What a compiler makes of `#pragma omp parallel` for GNU's runtime; LLVM's and Intel's have it too.
using Parallel = void (*)(TeamFunction, void*, unsigned num_threads, unsigned flags);

Parallel find_parallel() {
#if defined(_WIN32)
  return nullptr;
#else
  return reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
#endif
}

}  // namespace

void run_team(int64_t num_threads, void* data, TeamFunction function) {
  static const Parallel parallel = find_parallel();
  if (parallel != nullptr) parallel(function, data, static_cast<unsigned>(num_threads), 0);
  else function(data);
}
