// SPDX-License-Identifier: Apache-2.0
//
// The peer's multiplication, through its own graph: GGML_OP_MUL_MAT on its CPU backend, for every
// buffer type that it offers for weights. Runs in the process of peer_main.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "problem.hpp"

namespace qdial::bench {

/// ggml's shared libraries, opened from the folder that QDIAL_PEER_GGML names. Whatever is missing
/// there ends the program with a message.
class peer_graphs {
public:
    peer_graphs();
    ~peer_graphs();

    /// Version and library.
    [[nodiscard]] const std::string& description() const;
    /// What weights can be kept in.
    [[nodiscard]] const std::vector<std::string>& buffer_types() const { return type_names_; }

    /// Gives the weights, in `copies` copies, to a buffer type, which arranges them as it likes.
    /// Returns false, and keeps nothing, if the buffer type does not multiply such weights.
    bool load(std::size_t buffer_type, const problem& p, std::size_t copies);
    /// Frees the weights of all buffer types.
    void unload();

    /// Makes the graphs for p's n and threads; needs `load`.
    void prepare(std::size_t buffer_type, const problem& p);
    /// Multiplies with the copies in turn; the seconds of all the calls. Needs `prepare`.
    double multiply(std::size_t buffer_type, std::size_t calls);
    /// The results of the last multiplication with this buffer type.
    [[nodiscard]] std::vector<float> results(std::size_t buffer_type) const;

private:
    struct api;
    struct weights;
    struct graphs;

    std::unique_ptr<api> api_;
    std::vector<std::string> type_names_;
    std::vector<std::unique_ptr<weights>> weights_;
    std::vector<std::unique_ptr<graphs>> graphs_;
};

}  // namespace qdial::bench
