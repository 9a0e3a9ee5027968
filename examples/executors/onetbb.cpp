// SPDX-License-Identifier: Apache-2.0
//
// qdial's kernels on the threads of oneTBB: an executor is any callable that runs n tasks.
#include <tbb/parallel_for.h>

#include "multiply.hpp"

int main() {
    return multiply_with(
        "oneTBB", [](std::size_t n, auto&& task) { tbb::parallel_for(std::size_t{0}, n, task); });
}
