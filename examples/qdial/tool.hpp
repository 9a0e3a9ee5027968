// SPDX-License-Identifier: Apache-2.0
//
// What the commands of the tool share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qdial/error.hpp"

namespace tool {

/// Wrong usage of the tool: exit code 2, where other errors give 1.
class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// `fn()`, whose `qdial::error` is the user's fault: an argument that cannot be understood.
template <class Fn>
decltype(auto) as_usage(Fn&& fn) {
    try {
        return fn();
    } catch (const qdial::error& problem) {
        throw usage_error(problem.what());
    }
}

/// An executor on oneTBB.
class thread_pool {
public:
    explicit thread_pool(int threads);
    ~thread_pool();
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    /// The processors that this process may use.
    [[nodiscard]] static int processors();

    template <class Task>
    void operator()(std::size_t n, Task&& task) {
        run(n, [&task](std::size_t i) { task(i); });
    }

private:
    struct state;
    void run(std::size_t n, const std::function<void(std::size_t)>& task);
    std::unique_ptr<state> state_;
};

/// `text` with the bytes that a terminal could act on written as \xNN.
[[nodiscard]] std::string printable(std::string_view text);

/// "241.4 MiB".
[[nodiscard]] std::string human_bytes(double bytes);

/// "15,317": whole MiB, rounded as llama-quantize's are.
[[nodiscard]] std::string mebibytes(std::uint64_t bytes);

/// The bytes of "8GB", "1.5GiB" or "700M": units are powers of 1024, as memory is sold.
/// Throws `usage_error`.
[[nodiscard]] std::uint64_t parse_size(std::string_view text);

/// Throws `qdial::error` if `out` is the same file as one of `inputs`, by whatever name.
void refuse_same_file(const std::filesystem::path& out,
                      std::span<const std::filesystem::path> inputs);

/// Makes SIGINT, SIGTERM, SIGHUP and SIGBUS remove unfinished output files first.
void clean_up_on_signals();

/// A new folder for files that go away with it, also when a signal ends the process.
class scratch_folder {
public:
    scratch_folder();
    ~scratch_folder();
    scratch_folder(const scratch_folder&) = delete;
    scratch_folder& operator=(const scratch_folder&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
    /// A file in it that signals remove too. At most 64 at a time.
    [[nodiscard]] std::filesystem::path file(const std::string& name);

private:
    std::filesystem::path path_;
};

/// Text in columns on standard output.
class table {
public:
    struct column {
        std::string title;
        bool right = true;  ///< numbers are aligned on the right
    };
    explicit table(std::vector<column> columns) : columns_(std::move(columns)) {}
    void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    void print() const;

private:
    std::vector<column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

/// How far something is, on standard error: a bar on a terminal, otherwise a line now and then.
class progress_display {
public:
    /// Counts bytes, or what `unit` names.
    explicit progress_display(std::string unit = {});
    ~progress_display();
    progress_display(const progress_display&) = delete;
    progress_display& operator=(const progress_display&) = delete;

    void show(std::uint64_t done, std::uint64_t total);
    [[nodiscard]] double seconds() const;

private:
    std::string unit_;
    double started_;
    double shown_;
    bool terminal_;
    bool bar_ = false;
};

}  // namespace tool
