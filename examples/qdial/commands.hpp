// SPDX-License-Identifier: Apache-2.0
//
// The commands of the tool and what a user may tell them. They print on standard output and throw
// `usage_error` or `qdial::error`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tool.hpp"

namespace tool {

struct inspect_options {
    std::string file;
    bool as_json = false;
};
void inspect(const inspect_options& options);

struct quantize_options {
    std::string in, out, recipe, imatrix, output_type, embedding_type;
    std::vector<std::string> tensor_types;
    bool pure = false, allow_requantize = false, no_fallback = false;
    bool dry_run = false, force = false, as_json = false;
    int threads = thread_pool::processors();
};
void quantize(const quantize_options& options);

struct compare_options {
    std::string reference, other;
    bool as_json = false;
    int threads = thread_pool::processors();
};
void compare(const compare_options& options);

struct estimate_options {
    std::string what;  ///< a file or a built-in shape
    std::uint64_t context = 0;
    bool as_json = false;
};
void estimate(const estimate_options& options);

struct dial_options {
    std::string file, memory, settings, plot;
    std::string text, tasks, cache, imatrix;
    std::optional<double> max_kl;                ///< nats per token
    std::optional<double> max_ppl_increase;      ///< percent
    std::optional<double> min_pass_rate, max_pass_loss;  ///< percent
    std::uint64_t context = 0;  ///< tokens that memory is estimated for; 0: the usual
    std::size_t window = 512, chunks = 0;
    bool all = false, as_json = false;
    int threads = thread_pool::processors();
};
void dial(const dial_options& options);
/// The dial that a text or tasks decide: `dial` with one of them.
void dial_by_quality(const dial_options& options);

struct eval_options {
    std::string model, reference, text, tasks, cache, memory;
    std::size_t context = 512, chunks = 0;
    bool as_json = false;
    int threads = thread_pool::processors();
};
void eval(const eval_options& options);

struct imatrix_options {
    std::string model, text, out, memory;
    std::size_t context = 512, chunks = 0;
    bool force = false, as_json = false;
    int threads = thread_pool::processors();
};
void imatrix(const imatrix_options& options);

/// Names of the built-in shapes and of the recipes, for help texts.
[[nodiscard]] std::string shape_names();
[[nodiscard]] std::string recipe_names();

}  // namespace tool
