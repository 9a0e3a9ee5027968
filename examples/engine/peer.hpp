// SPDX-License-Identifier: Apache-2.0
//
// llama.cpp's shared libraries (libllama.so, libggml.so, libggml-base.so), opened at run time, to
// be measured beside the engine in the same run.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "session.hpp"

namespace engine {

struct peer_options {
    std::size_t context = 512;
    int threads = 1;
    bool repack = true;  ///< its own interleaved layouts, where it has one
    kv_format cache = kv_format::f16;
};

class peer_session {
public:
    /// Throws `qdial::error` if `folder` has no usable libraries or they do not load the model.
    peer_session(const std::filesystem::path& folder, const std::filesystem::path& model,
                 const peer_options& options);
    ~peer_session();
    peer_session(const peer_session&) = delete;
    peer_session& operator=(const peer_session&) = delete;

    /// Runs tokens after those before; the logits of the last one, valid until the next call.
    std::span<const float> run(std::span<const token> tokens);
    /// Forgets all tokens.
    void clear();

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace engine
