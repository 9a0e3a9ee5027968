// SPDX-License-Identifier: Apache-2.0
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include "tool.hpp"

namespace tool {

struct thread_pool::state {
    explicit state(int threads)
        : limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads)),
          arena(threads) {}

    tbb::global_control limit;
    tbb::task_arena arena;
};

thread_pool::thread_pool(int threads) : state_(std::make_unique<state>(threads)) {}
thread_pool::~thread_pool() = default;

int thread_pool::processors() { return tbb::info::default_concurrency(); }

void thread_pool::run(std::size_t n, const std::function<void(std::size_t)>& task) {
    state_->arena.execute([&] {
        // One task at a time: they differ in length, and the first one of a batch is special.
        tbb::parallel_for(
            tbb::blocked_range<std::size_t>(0, n, 1),
            [&](const tbb::blocked_range<std::size_t>& range) {
                for (std::size_t i = range.begin(); i != range.end(); ++i) task(i);
            },
            tbb::simple_partitioner{});
    });
}

}  // namespace tool
