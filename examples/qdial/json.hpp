// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "qdial/gguf/tensor.hpp"

namespace tool {

using json = nlohmann::ordered_json;

/// "[2048, 32000]" as JSON.
[[nodiscard]] inline json shape_json(const qdial::gguf::tensor_shape& shape) {
    json out = json::array();
    for (std::uint32_t i = 0; i < shape.n_dims; ++i) out.push_back(shape[i]);
    return out;
}

/// Prints a document on standard output. Names that are no UTF-8 get replacement characters.
inline void print(const json& document) {
    fmt::print("{}\n", document.dump(2, ' ', false, json::error_handler_t::replace));
}

}  // namespace tool
