// SPDX-License-Identifier: Apache-2.0
//
// What both dials share.
#pragma once

#include <cstdint>
#include <string>

#include "qdial/model/source.hpp"

namespace tool {

/// Bytes of physical memory.
[[nodiscard]] std::uint64_t memory_of_this_machine();

/// The format of most of a source's weights, if that is a quantized one.
[[nodiscard]] std::string quantized_format_of(const qdial::model::model_source& source);

}  // namespace tool
