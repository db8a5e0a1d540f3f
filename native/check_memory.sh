#!/bin/sh
# The native kernels under AddressSanitizer and UndefinedBehaviorSanitizer, then with every buffer beside a guard page
# (the sanitizers do not see masked loads of AVX-512, the machine does), then under valgrind: no report, no leak. Needs
# cmake, a C++ compiler with the sanitizers, and valgrind. Usage: native/check_memory.sh [build folder]
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$(mktemp -d)}
jobs=${JOBS:-$(nproc)}

cmake -S "$source" -B "$build/sanitized" -DCOTNET_DRIVER=ON -DCOTNET_SANITIZE=ON >/dev/null
cmake --build "$build/sanitized" --parallel "$jobs" >/dev/null
echo "AddressSanitizer and UndefinedBehaviorSanitizer"
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=detect_stack_use_after_return=1 "$build/sanitized/driver"

cmake -S "$source" -B "$build/plain" -DCOTNET_DRIVER=ON -DCMAKE_CXX_FLAGS=-g >/dev/null
cmake --build "$build/plain" --parallel "$jobs" >/dev/null
echo "between guard pages"
"$build/plain/driver" --guard-pages
echo "valgrind, which knows no AVX-512"
valgrind --quiet --error-exitcode=1 --leak-check=full --show-leak-kinds=definite \
  --errors-for-leak-kinds=definite "$build/plain/driver" --same-layouts baseline avx2
