// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>

#include "qdial/config.hpp"

namespace qdial::kernels {

/// How a format is encoded; specialised in the format's own file:
///
///     static void rows(const float* x, std::size_t rows, std::size_t row_length,
///                      const float* importance, typename Format::block* out) noexcept;
///
/// `rows` consecutive rows of `row_length` elements (a multiple of the block length);
/// `importance` is null or holds one weight per column.
template <class Format, class Arch>
struct encoder;

}  // namespace qdial::kernels
