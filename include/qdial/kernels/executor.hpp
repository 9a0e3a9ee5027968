// SPDX-License-Identifier: Apache-2.0
//
// Threads belong to the caller. Functions over many rows take an executor: any callable
//
//     executor(std::size_t n, task)
//
// that calls task(i) once for every i in [0, n), in any order, possibly at the same time from
// several threads, and returns when all calls have returned. Tasks write to disjoint memory and
// throw nothing; results do not depend on the order. With oneTBB, for example:
//
//     auto executor = [](std::size_t n, auto&& task) {
//         tbb::parallel_for(std::size_t{0}, n, task);
//     };
#pragma once

#include <cstddef>

#include "qdial/config.hpp"

namespace qdial {

/// Runs the tasks one after the other on the calling thread.
struct serial_executor {
    template <class Task>
    void operator()(std::size_t n, Task&& task) const {
        for (std::size_t i = 0; i < n; ++i) task(i);
    }
};

}  // namespace qdial
