// SPDX-License-Identifier: Apache-2.0
//
// Dot products of 16 rows of 4096 weights with one row of activations, in the L2 cache.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <span>

#include "operations.hpp"
#include "paired.hpp"
#include "peer.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/dot.hpp"
#include "sample_blocks.hpp"

namespace qdial::bench {
namespace {

constexpr std::size_t rows = 16, row_length = 4096, elements = rows * row_length;

/// Our dot products of every row.
template <weight_format F>
auto all_dots(std::span<const typename F::block> weights,
              std::span<const typename F::activation::block> activations) {
    return [=] {
        constexpr std::size_t row_blocks = row_length / F::block_length;
        for (std::size_t row = 0; row < rows; ++row) {
            float result = dot<F>(weights.subspan(row * row_blocks, row_blocks), activations);
            benchmark::DoNotOptimize(result);
        }
    };
}

template <weight_format F>
void measure(paired_run& run) {
    using A = typename F::activation;
    const auto weights = sample_blocks<F>(elements);
    const auto activations = sample_blocks<A>(row_length);
    const auto halves = sample_blocks<f16>(elements);

    run.ours(all_dots<F>(weights, activations));
    run.against("vs_f16", all_dots<f16>(halves, std::span(halves).first(row_length)));
    const peer_library* peer = peer_library::get();
    if (peer == nullptr) {
        run.note("no peer");
    } else if (!peer->has_cpu_library()) {
        run.note("the peer has no CPU library");
    } else if (const auto& traits = peer->cpu_traits(F::gguf_id);
               traits.activation_type != static_cast<int>(A::gguf_id)) {
        run.note("the peer takes other activations");
    } else {
        run.against("vs_peer", [&, vec_dot = traits.vec_dot] {
            for (std::size_t row = 0; row < rows; ++row) {
                float result = 0.0f;
                vec_dot(static_cast<int>(row_length), &result, 0,
                        weights.data() + row * (row_length / F::block_length), 0,
                        activations.data(), 0, 1);
                benchmark::DoNotOptimize(result);
            }
        });
    }
    run.run(elements, weights.size() * sizeof weights[0] +
                          activations.size() * sizeof activations[0]);
}

}  // namespace

void register_dot() {
    for_each_format(all_formats{}, [](auto f) {
        using F = decltype(f);
        if constexpr (weight_format<F>)
            add_benchmark("dot", F::name, measure<F>);
    });
}

}  // namespace qdial::bench
