// SPDX-License-Identifier: Apache-2.0
//
// A multiplication to be measured and its data, the same in this process and in the peer's.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <concepts>
#include <cstring>
#include <span>
#include <string>

#include "../paired.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/pack.hpp"
#include "qdial/kernels/quantize.hpp"

namespace qdial::bench {

/// y[n][rows] = x[n][row_length] w[rows][row_length]^T.
struct problem {
    std::uint32_t format;  ///< of the weights: a GGUF id
    std::uint32_t threads;
    std::uint64_t rows, row_length, n;

    [[nodiscard]] double operations() const {
        return 2.0 * static_cast<double>(rows) * static_cast<double>(row_length) *
               static_cast<double>(n);
    }
};

/// The formats that are measured: F32 is none that anybody would choose for speed.
template <class F>
concept measured_format = packable_format<F> && !std::same_as<F, f32>;

/// How many copies of a matrix are multiplied in turn, as the layers of a model are: together they
/// are four times as large as the last-level cache, so none finds itself there.
inline std::size_t copies_beyond_caches(std::size_t matrix_bytes) {
    std::size_t largest = std::size_t{8} << 20;
    for (const auto& cache : benchmark::CPUInfo::Get().caches)
        largest = std::max(largest, static_cast<std::size_t>(cache.size));
    return (4 * largest + matrix_bytes - 1) / matrix_bytes;
}

/// Weights: rows of quantized normal values, after some rows the same again.
template <measured_format F>
buffer<typename F::block> sample_matrix(std::size_t rows, std::size_t row_length) {
    const std::size_t different =
        std::clamp<std::size_t>((std::size_t{1} << 18) / row_length, 1, rows);
    const std::size_t row_blocks = row_length / F::block_length;
    buffer<typename F::block> blocks(rows * row_blocks);
    quantize<F>(sample_weights(different * row_length),
                std::span(blocks).first(different * row_blocks));
    for (std::size_t row = different; row < rows; ++row)
        std::memcpy(&blocks[row * row_blocks], &blocks[(row - different) * row_blocks],
                    row_blocks * sizeof blocks[0]);
    return blocks;
}

/// Activations, n rows. The period is a prime, so that no two rows are the same.
inline buffer<float> sample_activations(std::size_t n, std::size_t row_length) {
    constexpr std::size_t period = 262139;
    const auto values = sample_weights(period);
    buffer<float> x(n * row_length);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 50.0f * values[i % period];
    return x;
}

}  // namespace qdial::bench
