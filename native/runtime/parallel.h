// A range of independent tasks divided among threads. A task's result never depends on the division.
#pragma once

#include "../abi.h"
#include "arena.h"
#include "thread_team.h"

namespace {

// Calls `body(begin, end)`, which returns a Status, for chunks that together are the tasks 0 to `tasks`.
//
// The chunks lie in as many regions as there are threads. A thread begins with the region of its number in order of
// arrival, most often the same one in every call, so that its caches may hold what it wrote or read there; then it
// helps with the other regions, so that a thread that is held up leaves the rest to the others.
template <class Body> int parallel_for(int64_t num_threads, int64_t tasks, Body body) {
  constexpr int64_t max_regions = 64;  // threads beyond start by helping
  if (num_threads > tasks) num_threads = tasks;
  if (num_threads <= 1) return body(int64_t(0), tasks);

  struct Shared {
    Body* body;
    int64_t tasks, regions, chunks_per_region, arrived;
    int status;
    int64_t next_chunk[max_regions];
  } shared{};
  shared.body = &body;
  shared.tasks = tasks;
  shared.status = kOk;
  shared.regions = num_threads < max_regions ? num_threads : max_regions;
  shared.chunks_per_region = shared.regions * 8 <= tasks ? 8 : 1;
  run_team(num_threads, &shared, [](void* data) {
    Shared& s = *static_cast<Shared*>(data);
    const int64_t number = __atomic_fetch_add(&s.arrived, 1, __ATOMIC_RELAXED);
    const int64_t chunks = s.regions * s.chunks_per_region;
    const auto first_task = [&](int64_t chunk) { return s.tasks / chunks * chunk + s.tasks % chunks * chunk / chunks; };
    for (int64_t i = 0; i < s.regions; ++i) {
      const int64_t region = (number + i) % s.regions;
      for (;;) {
        const int64_t taken = __atomic_fetch_add(&s.next_chunk[region], 1, __ATOMIC_RELAXED);
        if (taken >= s.chunks_per_region) break;
        const int64_t chunk = region * s.chunks_per_region + taken;
        const int status = (*s.body)(first_task(chunk), first_task(chunk + 1));
        if (status != kOk) __atomic_store_n(&s.status, status, __ATOMIC_RELAXED);
      }
    }
  });
  return shared.status;
}

// Passes over the same tasks, each in the order opposite to the one before: a thread first takes the tasks that it had
// then, last ones first, whose memory its caches may still hold; what is left goes to whoever is free.
class AlternatingPasses {
 public:
  AlternatingPasses(Scratch& scratch, int64_t num_threads, int64_t tasks)
      : num_threads_(num_threads < tasks ? num_threads : tasks),
        tasks_(tasks),
        owner_(scratch.take<const void*>(tasks)),
        taken_(scratch.take<int>(tasks)) {}

  // Calls `body(task)` for every task.
  template <class Body> void run(const Body& body) {
    struct Shared {
      AlternatingPasses* passes;
      const Body* body;
    } shared{this, &body};
    const auto run_thread = [](void* data) {
      const Shared& s = *static_cast<Shared*>(data);
      s.passes->take(true, *s.body);
      s.passes->take(false, *s.body);
    };
    if (num_threads_ <= 1) run_thread(&shared);
    else run_team(num_threads_, &shared, run_thread);
    ++pass_;
  }

 private:
  template <class Body> void take(bool only_owned, const Body& body) {
    static thread_local char thread;  // its address tells threads apart
    for (int64_t i = 0; i < tasks_; ++i) {
      const int64_t task = pass_ % 2 == 0 ? i : tasks_ - 1 - i;
      if (only_owned && pass_ > 0 && owner_[task] != &thread) continue;
      if (__atomic_exchange_n(&taken_[task], pass_ + 1, __ATOMIC_RELAXED) == pass_ + 1) continue;
      __atomic_store_n(&owner_[task], &thread, __ATOMIC_RELAXED);
      body(task);
    }
  }

  int64_t num_threads_, tasks_;
  const void** owner_;  // of each task, the thread that had it last
  int *taken_, pass_ = 0;
};

}  // namespace
