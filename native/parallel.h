// A range of rows divided among threads. A row's result never depends on the division.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include "problem.h"

namespace {

template <class Work> int over_rows(const Problem& p, int64_t rows, Work work) {
  constexpr int64_t kSmall = 1 << 16;  // multiplications, below which a second thread costs more than it brings
  const int64_t columns = p.out_w, taps = p.kernel_size * p.kernel_size;
  int64_t threads = p.threads < rows ? p.threads : rows;
  if (rows * columns * p.channels * taps < kSmall) threads = 1;
  int status = kDone;
#ifdef _OPENMP
  if (threads > 1) {
#pragma omp parallel num_threads(int(threads)) reduction(max : status)
    {
      const int64_t count = omp_get_num_threads(), index = omp_get_thread_num();
      status = work(rows * index / count, rows * (index + 1) / count);
    }
    return status;
  }
#endif
  status = work(int64_t(0), rows);
  return status;
}

}  // namespace
