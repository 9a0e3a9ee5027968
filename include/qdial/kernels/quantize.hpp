// SPDX-License-Identifier: Apache-2.0
//
// Encoding weights. The bytes are those of ggml's reference quantizers (x86-64, no FMA) on every
// backend, compiler, flag set and thread count. Include the formats you need
// (qdial/formats/q4_k.hpp, or list.hpp for all of them) beside this file.
#pragma once

#include <algorithm>
#include <span>

#include "qdial/formats/format.hpp"
#include "qdial/kernels/encoder.hpp"
#include "qdial/kernels/executor.hpp"
#include "qdial/simd/simd.hpp"

namespace qdial {

/// Encodes rows of a matrix, in tasks of whole rows for the executor.
///
/// \param x           rows * row_length float32 values, row after row. They should be finite; a
///                    NaN or infinity gives the same bytes on every backend all the same: the
///                    K-quants and the weighted searches take it as 0, the others do what the
///                    reference does on x86-64
/// \param row_length  elements per row, a multiple of F::block_length
/// \param out         x.size() / F::block_length blocks
/// \param importance  empty, or one weight >= 0 per column (row_length values), as an importance
///                    matrix gives; formats without a weighted search ignore it
/// \param executor    see kernels/executor.hpp
///
/// Sizes that do not match fail QDIAL_ASSERT. Allocates nothing, throws nothing.
/// Source: the quantizers of ggml (`ggml_quantize_chunk`), whose bytes these are.
template <encodable_format F, class Arch = default_arch, class Executor = serial_executor>
void quantize_rows(std::span<const float> x, std::size_t row_length,
                   std::span<typename F::block> out, std::span<const float> importance = {},
                   Executor&& executor = {}) {
    QDIAL_ASSERT(row_length > 0 && row_length % F::block_length == 0,
                 "quantize: the row length must be a multiple of the format's block length");
    QDIAL_ASSERT(x.size() % row_length == 0, "quantize: the input is not whole rows");
    QDIAL_ASSERT(out.size() == x.size() / F::block_length,
                 "quantize: the output does not hold one block per block_length elements");
    QDIAL_ASSERT(importance.empty() || importance.size() == row_length,
                 "quantize: importance must be empty or one weight per column");
    const std::size_t rows = x.size() / row_length;
    // Enough blocks for all lanes, enough work to hide the cost of a task.
    constexpr std::size_t elements_per_task = 1 << 16;
    const std::size_t rows_per_task =
        std::max((elements_per_task + row_length - 1) / row_length, simd::ops<Arch>::width);
    executor((rows + rows_per_task - 1) / rows_per_task, [&](std::size_t task) {
        const std::size_t first = task * rows_per_task;
        kernels::encoder<F, Arch>::rows(x.data() + first * row_length,
                                        std::min(rows_per_task, rows - first), row_length,
                                        importance.empty() ? nullptr : importance.data(),
                                        out.data() + first * (row_length / F::block_length));
    });
}

/// Encodes one row: `quantize_rows` with x as the only row.
template <encodable_format F, class Arch = default_arch>
void quantize(std::span<const float> row, std::span<typename F::block> out,
              std::span<const float> importance = {}) {
    if (row.empty() && out.empty()) return;
    quantize_rows<F, Arch>(row, row.size(), out, importance);
}

}  // namespace qdial
