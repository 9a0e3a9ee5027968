// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "qdial/model/recipes.hpp"
#include "qdial/model/source.hpp"
#include "tool.hpp"

namespace tool {

/// Measures products of a matrix and a vector: for every format that the plans give to a matrix,
/// how many times faster than F16 it is on this machine, per weight.
///
/// Each format is timed in turn with F16, over rows as long as the model's, in matrices of at least
/// twice the processor's last cache (at most 128 MiB); the median of the repetitions counts. The
/// matrices are real rows of the model, repeated.
[[nodiscard]] std::map<std::uint32_t, double> measure_speeds(
    const qdial::model::model_source& source,
    std::span<const qdial::model::quantization_plan> plans, thread_pool& threads);

/// The speed of a whole plan against F16: all matrices that a token meets, once each.
[[nodiscard]] double speed_of(const qdial::model::quantization_plan& plan,
                              std::span<const qdial::model::tensor_shape> tensors,
                              const std::map<std::uint32_t, double>& speeds);

}  // namespace tool
