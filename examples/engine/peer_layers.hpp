// SPDX-License-Identifier: Apache-2.0
//
// The multiplications of a model's linear layers by ggml, in a graph of its own, to be measured
// beside the engine's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace engine {

/// A matrix of weights, in its blocks.
struct peer_matrix {
    std::uint32_t format;  ///< GGUF id
    std::size_t rows, row_length;
    std::span<const std::byte> blocks;
};

class peer_layers {
public:
    /// Gives the matrices to ggml, which arranges each in the first of its buffer types that
    /// multiplies it, as llama.cpp does. Throws `qdial::error` if `folder` has no usable libraries.
    peer_layers(const std::filesystem::path& folder, std::span<const peer_matrix> matrices,
                std::size_t threads);
    ~peer_layers();
    peer_layers(const peer_layers&) = delete;
    peer_layers& operator=(const peer_layers&) = delete;

    /// Makes the graph that multiplies each of the first `count` matrices by n rows.
    void prepare(std::size_t count, std::size_t n);
    /// Runs the graph.
    void multiply();

    /// Version and library.
    [[nodiscard]] const std::string& description() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace engine
