// SPDX-License-Identifier: Apache-2.0
//
//     [QDIAL_PEER_GGML=FOLDER] qdial_bench [options of Google Benchmark]
//
// Speed of every kernel and format on one thread, beside F16 and beside the peer.
#include <benchmark/benchmark.h>

#include <vector>

#include "context.hpp"
#include "operations.hpp"
#include "peer.hpp"
#include "qdial/simd/arch.hpp"

int main(int argc, char** argv) {
    using namespace qdial::bench;
    initialize(std::vector<char*>(argv, argv + argc));
    const peer_library* peer = peer_library::get();
    add_context(qdial::default_arch::name, peer != nullptr ? peer->description() : "no peer");
    register_quantize();
    register_dequantize();
    register_activations();
    register_dot();
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
