// SPDX-License-Identifier: Apache-2.0
#include "threads.hpp"

#include <atomic>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include "qdial/error.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace engine {

namespace {

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Looks at the next loop before sleeping: some tens of microseconds, longer than the serial
/// steps between two loops of a token.
constexpr int spins = 4000;

}  // namespace

struct thread_pool::state {
    // How many tasks there are (high half) and which is next. Whoever takes an index below the
    // number may run it: the loop, whose fields were written before, cannot end without it.
    std::atomic<std::uint64_t> ticket{0};
    std::atomic<std::uint32_t> loops{0};
    std::atomic<std::uint32_t> sleepers{0};
    std::atomic<std::uint32_t> finished{0};
    std::atomic<bool> closing{false};
    void (*call)(void*, std::size_t) = nullptr;
    void* task = nullptr;
    std::size_t first = 0;
    std::vector<std::thread> workers;

    static bool has_work(std::uint64_t t) noexcept {
        return static_cast<std::uint32_t>(t) < static_cast<std::uint32_t>(t >> 32);
    }

    void work() noexcept {
        while (has_work(ticket.load(std::memory_order_acquire))) {
            const std::uint64_t mine = ticket.fetch_add(1, std::memory_order_acq_rel);
            if (!has_work(mine)) return;
            call(task, first + static_cast<std::uint32_t>(mine));
            finished.fetch_add(1, std::memory_order_release);
        }
    }

    void serve() {
        std::uint32_t seen = loops.load();
        while (!closing.load()) {
            work();
            int left = spins;
            while (loops.load(std::memory_order_acquire) == seen && --left > 0) pause();
            if (left == 0) {
                sleepers.fetch_add(1);
                loops.wait(seen);
                sleepers.fetch_sub(1);
            }
            seen = loops.load(std::memory_order_acquire);
        }
    }

    void wake() noexcept {
        loops.fetch_add(1);
        if (sleepers.load() != 0) loops.notify_all();
    }

    void loop(std::size_t from, std::uint32_t n) noexcept {
        first = from;
        finished.store(0, std::memory_order_relaxed);
        ticket.store(std::uint64_t{n} << 32, std::memory_order_release);
        wake();
        work();
        for (int waited = 0; finished.load(std::memory_order_acquire) != n; ++waited) {
            // More threads than processors: let the one that has the last task run.
            if (waited < spins)
                pause();
            else
                std::this_thread::yield();
        }
    }
};

thread_pool::thread_pool(std::size_t threads) : state_(std::make_unique<state>()) {
    if (threads == 0) throw qdial::error("found 0 threads, expected at least 1");
    for (std::size_t i = 1; i < threads; ++i)
        state_->workers.emplace_back([s = state_.get()] { s->serve(); });
}

thread_pool::~thread_pool() {
    state_->closing.store(true);
    state_->loops.fetch_add(1);
    state_->loops.notify_all();
    for (std::thread& worker : state_->workers) worker.join();
}

std::size_t thread_pool::size() const noexcept { return state_->workers.size() + 1; }

void thread_pool::run(std::size_t n, void (*call)(void*, std::size_t), void* task) {
    state_->call = call;
    state_->task = task;
    constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max() / 2;
    for (std::size_t from = 0; from < n; from += most)
        state_->loop(from, static_cast<std::uint32_t>(n - from < most ? n - from : most));
}

}  // namespace engine
