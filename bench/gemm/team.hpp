// SPDX-License-Identifier: Apache-2.0
//
// Threads for the benchmarks: an executor whose threads wait actively between the calls of a slice,
// as inference engines' do, and sleep while others are measured.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <type_traits>
#include <vector>

namespace qdial::bench {

class thread_team {
public:
    explicit thread_team(std::size_t threads) {
        for (std::size_t i = 1; i < threads; ++i) threads_.emplace_back([this] { work(); });
    }
    ~thread_team() {
        job_ = {};
        stopping_ = true;
        start();
        for (std::thread& thread : threads_) thread.join();
    }
    thread_team(const thread_team&) = delete;
    thread_team& operator=(const thread_team&) = delete;

    template <class Task>
    void operator()(std::size_t n, Task&& task) {
        if (threads_.empty()) {
            for (std::size_t i = 0; i < n; ++i) task(i);
            return;
        }
        using task_type = std::remove_reference_t<Task>;
        job_ = {[](void* t, std::size_t i) { (*static_cast<task_type*>(t))(i); },
                const_cast<void*>(static_cast<const void*>(&task)), n};
        next_ = 0;
        busy_ = threads_.size();
        start();
        run(job_);
        for (int i = 0; busy_.load(std::memory_order_acquire) != 0; ++i) {
            if (i < 10'000)
                pause();
            else
                std::this_thread::yield();  // another program has the thread's CPU
        }
    }

    /// The threads sleep until the next call.
    void rest() { resting_ = true; }

private:
    struct job {
        void (*call)(void* task, std::size_t i) = nullptr;
        void* task = nullptr;
        std::size_t n = 0;
    };

    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        std::this_thread::yield();
#endif
    }

    void start() {
        resting_ = false;
        generation_.fetch_add(1, std::memory_order_release);
        generation_.notify_all();
    }

    void run(const job& j) {
        for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < j.n;)
            j.call(j.task, i);
    }

    void work() {
        for (unsigned seen = 0;;) {
            while (generation_.load(std::memory_order_acquire) == seen) {
                if (resting_)
                    generation_.wait(seen);
                else
                    pause();
            }
            ++seen;
            if (stopping_) return;
            run(job_);
            busy_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::vector<std::thread> threads_;
    job job_;
    std::atomic<unsigned> generation_ = 0;
    std::atomic<std::size_t> next_ = 0, busy_ = 0;
    std::atomic<bool> resting_ = true, stopping_ = false;
};

}  // namespace qdial::bench
