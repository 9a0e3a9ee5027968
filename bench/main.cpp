// SPDX-License-Identifier: Apache-2.0
//
//     [QDIAL_PEER_GGML=FOLDER] qdial_bench [options of Google Benchmark]
//
// Speed of every kernel and format on one thread, beside F16 and beside the peer.
#include <benchmark/benchmark.h>

#include <fstream>
#include <string>
#include <vector>

#include "operations.hpp"
#include "peer.hpp"
#include "qdial/simd/arch.hpp"

namespace {

std::string cpu_name() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    return "unknown";
}

}  // namespace

int main(int argc, char** argv) {
    using namespace qdial::bench;
    // A benchmark's first batch is a whole measurement; a longer time given by the user repeats it.
    std::string minimum_time = "--benchmark_min_time=0";
    std::vector<char*> arguments(argv, argv + argc);
    arguments.insert(arguments.begin() + 1, minimum_time.data());
    arguments.push_back(nullptr);
    int count = argc + 1;
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;

    const peer_library* peer = peer_library::get();
    benchmark::AddCustomContext("cpu", cpu_name());
    benchmark::AddCustomContext("backend", std::string(qdial::default_arch::name));
    benchmark::AddCustomContext("peer", peer != nullptr ? peer->description() : "no peer");

    register_quantize();
    register_dequantize();
    register_activations();
    register_dot();
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
