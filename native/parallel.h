// A range of independent tasks divided among threads. A task's result never depends on the division.
#pragma once

#include "problem.h"
#include "team.h"

namespace {

// `work(begin, end)` returns a status.
template <class Work> int share_out(int64_t threads, int64_t tasks, Work work) {
  if (threads > tasks) threads = tasks;
  if (threads <= 1) return work(int64_t(0), tasks);

  // Smaller shares than threads: whoever is held up leaves the rest to the others.
  struct Shared {
    Work* work;
    int64_t tasks, shares, next;
    int status;
  } shared{&work, tasks, threads * 8 < tasks ? threads * 8 : tasks, 0, kDone};
  run_team(threads, &shared, [](void* data) {
    Shared& s = *static_cast<Shared*>(data);
    for (;;) {
      const int64_t share = __atomic_fetch_add(&s.next, 1, __ATOMIC_RELAXED);
      if (share >= s.shares) return;
      const int status = (*s.work)(s.tasks / s.shares * share + s.tasks % s.shares * share / s.shares,
                                   s.tasks / s.shares * (share + 1) + s.tasks % s.shares * (share + 1) / s.shares);
      if (status != kDone) __atomic_store_n(&s.status, status, __ATOMIC_RELAXED);
    }
  });
  return shared.status;
}

template <class Work> int over_tasks(const Problem& p, int64_t tasks, Work work) {
  constexpr int64_t small = 1 << 17;  // multiplications, below which a second thread costs more than it brings
  const int64_t outputs = p.batch * p.channels * p.out_h * p.out_w, taps = p.kernel_size * p.kernel_size;
  return share_out(outputs < small / taps ? 1 : p.threads, tasks, work);
}

}  // namespace
