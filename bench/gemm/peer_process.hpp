// SPDX-License-Identifier: Apache-2.0
//
// The peer in a process of its own, which multiplies on command: when it crashes, that is a result.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "problem.hpp"

namespace qdial::bench {

/// The argument that makes the program the peer's process.
inline constexpr const char* peer_argument = "--peer-process";

/// The main function of the peer's process: answers until its input ends.
int peer_main();

/// What is written to the peer's process, and what it answers.
struct peer_request {
    enum kind : std::uint32_t { describe, unload, load, prepare, multiply, results };
    kind what = describe;
    std::uint32_t buffer_type = 0;
    std::uint64_t count = 0;  ///< copies; calls
    problem of{};
};
struct peer_reply {
    double seconds = 0.0;
    std::uint64_t done = 1;
    std::uint64_t floats = 0;  ///< that follow
    char text[256] = {};
};

class peer_process {
public:
    /// The peer, or null without QDIAL_PEER_GGML.
    static peer_process* get();

    [[nodiscard]] const std::string& description() const { return description_; }
    [[nodiscard]] const std::vector<std::string>& buffer_types() const { return buffer_types_; }

    /// What became of a request.
    enum class outcome { done, unsupported, crashed };

    /// Loads the weights, unless they are, and multiplies once.
    outcome prepare(std::size_t buffer_type, const problem& p);
    /// Seconds of so many multiplications, by the peer's own clock; NaN if it crashed.
    double multiply(std::size_t buffer_type, std::size_t calls);
    /// The results of the last multiplication; empty if it crashed.
    std::vector<float> results(std::size_t buffer_type);

    /// How the process ended the last time it did: "SIGSEGV".
    [[nodiscard]] const std::string& last_crash() const { return last_crash_; }

private:
    peer_process() = default;
    ~peer_process() { stop(); }

    bool start();
    void stop();
    /// False if the process ended instead of answering.
    bool ask(const peer_request& request, peer_reply& reply, std::vector<float>* data = nullptr);

    std::string description_, last_crash_;
    std::vector<std::string> buffer_types_;
    pid_t process_ = -1;
    int to_ = -1, from_ = -1;
    problem loaded_{};              ///< whose weights the process has
    std::vector<bool> has_weights_;  ///< by buffer type
};

}  // namespace qdial::bench
