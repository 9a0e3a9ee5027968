// SPDX-License-Identifier: Apache-2.0
//
//     [QDIAL_PEER_GGML=FOLDER [QDIAL_PEER_CPU=haswell]] qdial_gemm_bench [--full] [options]
//
// Packed GEMV and GEMM beside the machine's limits, F16 and the peer. The options are those of
// Google Benchmark; a filter chooses among all cases.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "../context.hpp"
#include "cases.hpp"
#include "peer_process.hpp"

namespace {

std::string billions(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", 1e-9 * value);
    return text;
}

void add_limits(std::size_t threads) {
    using namespace qdial::bench;
    const machine_limits& limits = limits_of(threads);
    const std::string end = threads == 1 ? "" : ", " + std::to_string(threads) + " threads";
    benchmark::AddCustomContext("read" + end, billions(limits.read_bytes_per_second) + " GB/s (" +
                                                  line_reader::name + ", " +
                                                  limits.way_to_read->name + ")");
    benchmark::AddCustomContext("int8 peak" + end, billions(limits.byte_operations_per_second) +
                                                       " GOPS (" + byte_peak::name + ")");
    benchmark::AddCustomContext("FMA peak" + end, billions(limits.float_operations_per_second) +
                                                      " GFLOPS (" + fma_peak::name + ")");
}

}  // namespace

int main(int argc, char** argv) {
    using namespace qdial::bench;
    if (argc > 1 && std::string_view(argv[1]) == peer_argument) return peer_main();

    bool all = false;
    std::vector<char*> arguments;
    for (int i = 0; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument.starts_with("--benchmark_filter")) all = true;
        if (argument == "--full")
            all = true;
        else
            arguments.push_back(argv[i]);
    }
    initialize(arguments);
    peer_process* peer = peer_process::get();
    add_context(register_cases(all), peer != nullptr ? peer->description() : "no peer");
    for (const std::size_t threads : {1, 2}) add_limits(threads);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
