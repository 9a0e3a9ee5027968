// SPDX-License-Identifier: Apache-2.0
//
// Threads for a forward pass: hundreds of short parallel loops per token, for which waking
// sleeping threads would cost more than the work.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace engine {

/// An executor (see qdial/kernels/executor.hpp) on threads of its own, which look for the next
/// loop for a moment before they sleep. One loop at a time: it is used by one thread.
class thread_pool {
public:
    /// `threads` >= 1, the calling thread among them.
    explicit thread_pool(std::size_t threads);
    ~thread_pool();
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    [[nodiscard]] std::size_t size() const noexcept;

    template <class Task>
    void operator()(std::size_t n, Task&& task) {
        if (n == 0) return;
        if (n == 1 || size() == 1) {
            for (std::size_t i = 0; i < n; ++i) task(i);
            return;
        }
        using callable = std::remove_reference_t<Task>;
        run(n, [](void* t, std::size_t i) { (*static_cast<callable*>(t))(i); },
            const_cast<void*>(static_cast<const void*>(std::addressof(task))));
    }

private:
    struct state;
    void run(std::size_t n, void (*call)(void*, std::size_t), void* task);
    std::unique_ptr<state> state_;
};

}  // namespace engine
