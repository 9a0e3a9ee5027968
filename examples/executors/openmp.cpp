// SPDX-License-Identifier: Apache-2.0
//
// qdial's kernels on the threads of OpenMP: an executor is any callable that runs n tasks.
#include "multiply.hpp"

int main() {
    return multiply_with("OpenMP", [](std::size_t n, auto&& task) {
#pragma omp parallel for schedule(dynamic)
        for (std::size_t i = 0; i < n; ++i) task(i);
    });
}
