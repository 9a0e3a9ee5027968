// SPDX-License-Identifier: Apache-2.0
//
// The commands of the engine's program. They print on standard output and throw `qdial::error`.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "session.hpp"

namespace engine {

/// Options that commands share.
struct run_options {
    std::string model;
    std::string text_file, text, token_file;  ///< one of them
    std::string peer;                         ///< a folder, or empty
    std::string cache = "f16";
    std::size_t threads = 1, context = 512, count = 64, batch = 512, repeat = 3;
    bool special = false, as_json = false, timings = false, ignore_end = false;
};

/// Prints the token ids of a text.
void tokenize(const run_options& options);
/// Prints the greedy continuation of a text or of token ids.
void generate(const run_options& options);
/// Writes the logits after each token, float32, to a file.
void write_logits(const run_options& options, const std::string& out);
/// Prints tokens per second of prompt and generation, beside the peer's.
void measure_speed(const run_options& options);
/// Prints the tokens per second that the linear layers alone allow, one line per model.
void measure_layers(const run_options& options, const std::vector<std::string>& models);

/// "f32", "f16" or "q8_0".
[[nodiscard]] kv_format cache_format(const std::string& name);
/// A model loaded with its progress on standard error.
[[nodiscard]] model load_model(const std::string& path, thread_pool& threads);
/// The ids, or those of the text.
[[nodiscard]] std::vector<token> input_tokens(const run_options& options,
                                              const qdial::gguf::file& file);
/// Seconds of an ever-running clock.
[[nodiscard]] double now();

}  // namespace engine
