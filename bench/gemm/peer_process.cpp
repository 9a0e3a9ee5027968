// SPDX-License-Identifier: Apache-2.0
#include "peer_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sstream>

#include "../peer.hpp"
#include "peer_graph.hpp"

namespace qdial::bench {

namespace {

/// The ends of the pipes in the peer's process. Not the standard ones: the peer may print.
constexpr int requests_descriptor = 3, replies_descriptor = 4;
/// The longest wait for an answer: beyond that the peer hangs.
constexpr int most_milliseconds = 300'000;

bool write_all(int file, const void* data, std::size_t bytes) {
    for (const auto* p = static_cast<const char*>(data); bytes != 0;) {
        const ssize_t n = write(file, p, bytes);
        if (n <= 0) return false;
        p += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return true;
}

bool read_all(int file, void* data, std::size_t bytes) {
    for (auto* p = static_cast<char*>(data); bytes != 0;) {
        pollfd ready{file, POLLIN, 0};
        if (poll(&ready, 1, most_milliseconds) <= 0) return false;
        const ssize_t n = read(file, p, bytes);
        if (n <= 0) return false;
        p += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return true;
}

/// Lines: the library, then the buffer types.
std::string names_of(const peer_graphs& graphs) {
    std::string names = graphs.description();
    for (const std::string& type : graphs.buffer_types()) names += "\n" + type;
    return names;
}

/// The peer's side.
std::vector<float> answer(peer_graphs& graphs, const peer_request& request, peer_reply& reply) {
    const std::size_t type = request.buffer_type;
    switch (request.what) {
        case peer_request::describe:
            std::snprintf(reply.text, sizeof reply.text, "%s", names_of(graphs).c_str());
            break;
        case peer_request::unload:
            graphs.unload();
            break;
        case peer_request::load:
            reply.done = graphs.load(type, request.of, request.count);
            break;
        case peer_request::prepare:
            graphs.prepare(type, request.of);
            break;
        case peer_request::multiply:
            reply.seconds = graphs.multiply(type, request.count);
            break;
        case peer_request::results: {
            auto y = graphs.results(type);
            reply.floats = y.size();
            return y;
        }
    }
    return {};
}

}  // namespace

int peer_main() {
    peer_graphs graphs;
    for (peer_request request; read_all(requests_descriptor, &request, sizeof request);) {
        peer_reply reply;
        const std::vector<float> data = answer(graphs, request, reply);
        if (!write_all(replies_descriptor, &reply, sizeof reply) ||
            !write_all(replies_descriptor, data.data(), data.size() * sizeof(float)))
            return 1;
    }
    return 0;
}

peer_process* peer_process::get() {
    const char* folder = std::getenv("QDIAL_PEER_GGML");
    if (folder == nullptr || *folder == '\0') return nullptr;
    static peer_process peer;
    static const bool started = peer.start();
    if (!started) std::exit(1);  // its message is printed
    return &peer;
}

bool peer_process::start() {
    signal(SIGPIPE, SIG_IGN);  // a peer that ended is told by the answer that does not come
    int requests[2], replies[2];
    if (pipe2(requests, O_CLOEXEC) != 0 || pipe2(replies, O_CLOEXEC) != 0)
        peer_failure("no pipe to its process");
    process_ = fork();
    if (process_ < 0) peer_failure("no process for it");
    if (process_ == 0) {
        // Through numbers that none of the pipes' ends has.
        const int from = fcntl(requests[0], F_DUPFD, 10), to = fcntl(replies[1], F_DUPFD, 10);
        dup2(from, requests_descriptor);
        dup2(to, replies_descriptor);
        close(from);
        close(to);
        execl("/proc/self/exe", "qdial_gemm_bench", peer_argument, nullptr);
        _exit(127);
    }
    close(requests[0]);
    close(replies[1]);
    to_ = requests[1];
    from_ = replies[0];
    peer_reply reply;
    if (!ask({.what = peer_request::describe}, reply)) return false;
    std::istringstream lines(reply.text);
    std::getline(lines, description_);
    buffer_types_.clear();
    for (std::string name; std::getline(lines, name);) buffer_types_.push_back(name);
    has_weights_.assign(buffer_types_.size(), false);
    return true;
}

void peer_process::stop() {
    if (process_ < 0) return;
    close(to_);
    close(from_);
    // It ends by itself when its input does, unless it hangs.
    int status = 0;
    for (int i = 0; waitpid(process_, &status, WNOHANG) == 0; ++i) {
        if (i == 100) kill(process_, SIGKILL);
        usleep(10'000);
    }
    process_ = -1;
    if (WIFSIGNALED(status)) {
        const char* name = sigabbrev_np(WTERMSIG(status));
        last_crash_ = WTERMSIG(status) == SIGKILL ? "no answer" : "SIG" + std::string(name);
    } else {
        last_crash_ = "exit code " + std::to_string(WEXITSTATUS(status));
    }
}

bool peer_process::ask(const peer_request& request, peer_reply& reply, std::vector<float>* data) {
    bool answered = process_ >= 0 && write_all(to_, &request, sizeof request) &&
                    read_all(from_, &reply, sizeof reply);
    if (answered && data != nullptr) {
        data->resize(reply.floats);
        answered = read_all(from_, data->data(), reply.floats * sizeof(float));
    }
    if (!answered) stop();
    return answered;
}

peer_process::outcome peer_process::prepare(std::size_t buffer_type, const problem& p) {
    if (process_ < 0 && !start()) return outcome::crashed;
    const auto type = static_cast<std::uint32_t>(buffer_type);
    peer_reply reply;
    const bool same = loaded_.format == p.format && loaded_.rows == p.rows &&
                      loaded_.row_length == p.row_length;
    if (!same) {
        if (!ask({.what = peer_request::unload}, reply)) return outcome::crashed;
        has_weights_.assign(buffer_types_.size(), false);
        loaded_ = p;
    }
    if (!has_weights_[buffer_type]) {
        const std::size_t copies =
            copies_beyond_caches(p.rows * p.row_length / find_format(p.format)->block_length *
                                 find_format(p.format)->block_bytes);
        if (!ask({peer_request::load, type, copies, p}, reply)) return outcome::crashed;
        if (reply.done == 0) return outcome::unsupported;
        has_weights_[buffer_type] = true;
    }
    if (!ask({peer_request::prepare, type, 0, p}, reply) ||
        !ask({peer_request::multiply, type, 1, p}, reply))
        return outcome::crashed;
    return outcome::done;
}

double peer_process::multiply(std::size_t buffer_type, std::size_t calls) {
    peer_reply reply;
    const peer_request request{peer_request::multiply, static_cast<std::uint32_t>(buffer_type),
                               calls, loaded_};
    return ask(request, reply) ? reply.seconds : std::numeric_limits<double>::quiet_NaN();
}

std::vector<float> peer_process::results(std::size_t buffer_type) {
    peer_reply reply;
    std::vector<float> y;
    const peer_request request{peer_request::results, static_cast<std::uint32_t>(buffer_type), 0,
                               loaded_};
    if (!ask(request, reply, &y)) y.clear();
    return y;
}

}  // namespace qdial::bench
