// SPDX-License-Identifier: Apache-2.0
//
// The functions of the library that need all formats' kernels, compiled once for all commands.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "qdial/model/conversion.hpp"
#include "qdial/model/weight_error.hpp"
#include "tool.hpp"

namespace tool {

/// See qdial/model/convert.hpp and qdial/model/compare.hpp.
void convert(const qdial::model::conversion& job, qdial::gguf::writer::sink write,
             thread_pool& threads,
             const std::function<void(const qdial::model::conversion_progress&)>& progress);

[[nodiscard]] qdial::model::weight_error compare_tensors(
    const qdial::model::source_tensor& reference, const qdial::model::source_tensor& other,
    thread_pool& threads);

[[nodiscard]] std::vector<qdial::model::weight_error> encoding_errors(
    const qdial::model::source_tensor& from, std::span<const std::uint32_t> formats,
    thread_pool& threads);

}  // namespace tool
