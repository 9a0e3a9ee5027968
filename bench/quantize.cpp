// SPDX-License-Identifier: Apache-2.0
//
// Encoding 64 rows of 4096 weights.
#include <cstddef>
#include <cstring>
#include <random>
#include <span>
#include <string>

#include "operations.hpp"
#include "paired.hpp"
#include "peer.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/quantize.hpp"

namespace qdial::bench {
namespace {

constexpr std::size_t rows = 64, row_length = 4096, elements = rows * row_length;

/// One weight per column, spread as the mean squares of a layer's activations are.
buffer<float> sample_importance() {
    std::mt19937 random(2);
    std::lognormal_distribution<float> lognormal(0.0f, 1.0f);
    buffer<float> importance(row_length);
    for (float& w : importance) w = lognormal(random);
    return importance;
}

template <encodable_format F>
void measure(paired_run& run, const buffer<float>& importance) {
    const std::span<const float> x = sample_weights(elements);
    buffer<typename F::block> blocks(elements / F::block_length), peer_blocks(blocks.size());
    buffer<f16::block> halves(elements);

    run.ours([&] { quantize_rows<F>(x, row_length, blocks, importance); });
    run.against("vs_f16", [&] { quantize_rows<f16>(x, row_length, halves, importance); });
    if (const peer_library* peer = peer_library::get()) {
        const auto peer_quantize = [&, peer] {
            peer->quantize(F::gguf_id, x.data(), rows, row_length, peer_blocks.data(),
                           importance.empty() ? nullptr : importance.data());
        };
        quantize_rows<F>(x, row_length, blocks, importance);
        peer_quantize();
        if (std::memcmp(blocks.data(), peer_blocks.data(), blocks.size() * sizeof blocks[0]) != 0)
            run.note("bytes differ from the peer's");
        run.against("vs_peer", peer_quantize);
    } else {
        run.note("no peer");
    }
    run.run(elements, x.size_bytes() + blocks.size() * sizeof blocks[0]);
}

void register_all(const std::string& operation, const buffer<float>& importance) {
    for_each_format(all_formats{}, [&](auto f) {
        using F = decltype(f);
        if constexpr (F::encodable)
            add_benchmark(operation, F::name,
                          [=](paired_run& run) { measure<F>(run, importance); });
    });
}

}  // namespace

void register_quantize() {
    register_all("quantize", {});
    register_all("quantize_weighted", sample_importance());
}

}  // namespace qdial::bench
