// SPDX-License-Identifier: Apache-2.0
//
// The commands of the tool and what a user may tell them. They print on standard output and throw
// `usage_error` or `qdial::error`.
#pragma once

#include <cstdint>
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
    std::uint64_t context = 0;
    bool as_json = false;
    int threads = thread_pool::processors();
};
void dial(const dial_options& options);

/// Names of the built-in shapes and of the recipes, for help texts.
[[nodiscard]] std::string shape_names();
[[nodiscard]] std::string recipe_names();

}  // namespace tool
