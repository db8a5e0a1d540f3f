// Threads come from the OpenMP runtime that the process has loaded already.
#pragma once

#include <cstdint>

using TeamFunction = void (*)(void*);

// Runs `function(data)` on up to `num_threads` threads at once, the caller among them; returns when all have.
void run_team(int64_t num_threads, void* data, TeamFunction function) __attribute__((visibility("hidden")));
