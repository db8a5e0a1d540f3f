// A range of independent tasks divided among threads. A task's result never depends on the division.
#pragma once

#include "problem.h"
#include "scratch.h"
#include "team.h"

namespace {

// `work(begin, end)` returns a status.
//
// A thread begins with the run of shares that is its own by its arrival, most often the same one in every call, so that
// its caches may hold what it wrote or read there; when that is done it helps with the others' runs, so whoever is held
// up leaves the rest to the others.
template <class Work> int share_out(int64_t threads, int64_t tasks, Work work) {
  constexpr int64_t most = 64;  // runs; threads beyond start by helping
  if (threads > tasks) threads = tasks;
  if (threads <= 1) return work(int64_t(0), tasks);

  struct Shared {
    Work* work;
    int64_t tasks, runs, shares_of_run, arrived;
    int status;
    int64_t next[most];
  } shared{};
  shared.work = &work, shared.tasks = tasks, shared.status = kDone;
  shared.runs = threads < most ? threads : most;
  shared.shares_of_run = shared.runs * 8 <= tasks ? 8 : 1;
  run_team(threads, &shared, [](void* data) {
    Shared& s = *static_cast<Shared*>(data);
    const int64_t own = __atomic_fetch_add(&s.arrived, 1, __ATOMIC_RELAXED), shares = s.runs * s.shares_of_run;
    for (int64_t i = 0; i < s.runs; ++i) {
      const int64_t run = (own + i) % s.runs;
      for (;;) {
        const int64_t taken = __atomic_fetch_add(&s.next[run], 1, __ATOMIC_RELAXED);
        if (taken >= s.shares_of_run) break;
        const int64_t share = run * s.shares_of_run + taken;
        const auto first_of = [&](int64_t i) { return s.tasks / shares * i + s.tasks % shares * i / shares; };
        const int status = (*s.work)(first_of(share), first_of(share + 1));
        if (status != kDone) __atomic_store_n(&s.status, status, __ATOMIC_RELAXED);
      }
    }
  });
  return shared.status;
}

// Passes over the same tasks, each in the order opposite to the one before: a thread first takes the tasks that it had
// then, last ones first, whose memory its caches may hold still; what is left goes to whoever is free.
class Passes {
 public:
  Passes(Scratch& scratch, int64_t threads, int64_t tasks)
      : threads_(threads < tasks ? threads : tasks), tasks_(tasks) {
    owner_ = scratch.take<const void*>(tasks), taken_ = scratch.take<int>(tasks);
  }
  template <class Work> void run(const Work& work) {
    struct Shared {
      Passes* passes;
      const Work* work;
    } shared{this, &work};
    const auto go = [](void* data) {
      const Shared& s = *static_cast<Shared*>(data);
      s.passes->take(true, *s.work);
      s.passes->take(false, *s.work);
    };
    if (threads_ <= 1) go(&shared);
    else run_team(threads_, &shared, go);
    ++pass_;
  }

 private:
  template <class Work> void take(bool own, const Work& work) {
    static thread_local char thread;
    for (int64_t i = 0; i < tasks_; ++i) {
      const int64_t task = pass_ % 2 == 0 ? i : tasks_ - 1 - i;
      if (own && pass_ > 0 && owner_[task] != &thread) continue;
      if (__atomic_exchange_n(&taken_[task], pass_ + 1, __ATOMIC_RELAXED) == pass_ + 1) continue;
      __atomic_store_n(&owner_[task], &thread, __ATOMIC_RELAXED);
      work(task);
    }
  }
  int64_t threads_, tasks_;
  const void** owner_;
  int *taken_, pass_ = 0;
};

template <class Work> int over_tasks(const Problem& p, int64_t tasks, Work work) {
  constexpr int64_t small = 1 << 17;  // multiplications, below which a second thread costs more than it brings
  const int64_t outputs = p.batch * p.channels * p.out_h * p.out_w, taps = p.kernel_size * p.kernel_size;
  return share_out(outputs < small / taps ? 1 : p.threads, tasks, work);
}

}  // namespace
