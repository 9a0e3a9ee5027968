// SPDX-License-Identifier: Apache-2.0
//
// Quantizing 16 rows of 4096 activations.
#include <cstddef>
#include <span>

#include "operations.hpp"
#include "paired.hpp"
#include "peer.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/activations.hpp"
#include "qdial/kernels/quantize.hpp"

namespace qdial::bench {
namespace {

constexpr std::size_t elements = 16 * 4096;

template <activation_format F>
void measure(paired_run& run) {
    const std::span<const float> x = sample_weights(elements);
    buffer<typename F::block> blocks(elements / F::block_length), peer_blocks(blocks.size());
    buffer<f16::block> halves(elements);

    run.ours([&] { quantize_activations<F>(x, blocks); });
    run.against("vs_f16", [&] { quantize<f16>(x, halves); });
    const peer_library* peer = peer_library::get();
    if (peer == nullptr) {
        run.note("no peer");
    } else if (!peer->has_cpu_library()) {
        run.note("the peer has no CPU library");
    } else {
        run.against("vs_peer", [&, from_float = peer->cpu_traits(F::gguf_id).from_float] {
            from_float(x.data(), peer_blocks.data(), elements);
        });
    }
    run.run(elements, x.size_bytes() + blocks.size() * sizeof blocks[0]);
}

}  // namespace

void register_activations() {
    for_each_format(all_formats{}, [](auto f) {
        using F = decltype(f);
        if constexpr (activation_format<F>)
            add_benchmark("quantize_activations", F::name, measure<F>);
    });
}

}  // namespace qdial::bench
