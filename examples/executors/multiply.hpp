// SPDX-License-Identifier: Apache-2.0
//
// What both examples do with their executor: quantize a matrix, pack it, multiply it with a few
// rows of activations, and compare with the serial result, bit for bit.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <span>
#include <vector>

#include "qdial/formats/q4_k.hpp"
#include "qdial/kernels/gemm.hpp"
#include "qdial/kernels/quantize.hpp"

template <class Executor>
int multiply_with(const char* name, Executor&& executor) {
    using F = qdial::q4_k;
    using A = qdial::packed_activation<F>;
    constexpr std::size_t rows = 2048, row_length = 1024, n = 8;

    std::vector<float> weights(rows * row_length), x(n * row_length);
    for (std::size_t i = 0; i < weights.size(); ++i)
        weights[i] = static_cast<float>(i * 2654435761u % 2048) / 1024.0f - 1.0f;
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) - 8.0f;

    std::vector<F::block> blocks(weights.size() / F::block_length);
    qdial::quantize_rows<F>(weights, row_length, blocks, {}, executor);
    std::vector<std::byte> packed(qdial::pack_size<F>(rows, row_length));
    qdial::pack<F>(std::span<const F::block>(blocks), row_length, std::span(packed), executor);
    std::vector<std::byte> activations(qdial::packed_activations_size<A>(n, row_length));
    qdial::pack_activations<A>(x.data(), n, row_length, row_length, std::span(activations),
                               executor);

    const qdial::packed_matrix<F> w{packed.data(), rows, row_length};
    const qdial::packed_activations<A> a{activations.data(), n, row_length};
    std::vector<float> y(n * rows), serial(n * rows);
    qdial::gemm<F>(w, a, y.data(), rows, qdial::output::overwrite, executor);
    qdial::gemm<F>(w, a, serial.data(), rows);

    const bool same = std::memcmp(y.data(), serial.data(), y.size() * sizeof(float)) == 0;
    std::printf("%s: %zu x %zu times %zu rows, %s as with one thread\n", name, rows, row_length, n,
                same ? "the same bits" : "OTHER BITS");
    return same ? 0 : 1;
}
