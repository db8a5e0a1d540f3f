#!/bin/sh
# The native kernels under AddressSanitizer and UndefinedBehaviorSanitizer, then with every buffer beside a page that must
# not be touched (the sanitizers do not see masked loads of AVX-512, the machine does), then under valgrind: no report,
# no leak. Needs cmake, a C++ compiler with the sanitizers, and valgrind. Usage: native/check_memory.sh [build folder]
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$(mktemp -d)}

cmake -S "$source" -B "$build/sanitized" -DCOTNET_DRIVER=ON -DCOTNET_SANITIZE=ON >/dev/null
cmake --build "$build/sanitized" --parallel "$(nproc)" >/dev/null
echo "AddressSanitizer and UndefinedBehaviorSanitizer"
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=detect_stack_use_after_return=1 "$build/sanitized/driver"

cmake -S "$source" -B "$build/plain" -DCOTNET_DRIVER=ON -DCMAKE_CXX_FLAGS=-g >/dev/null
cmake --build "$build/plain" --parallel "$(nproc)" >/dev/null
echo "between pages that must not be touched"
"$build/plain/driver" --pages
echo "valgrind, which knows no AVX-512"
valgrind --quiet --error-exitcode=1 --leak-check=full --show-leak-kinds=definite \
  --errors-for-leak-kinds=definite "$build/plain/driver" --alike baseline avx2
