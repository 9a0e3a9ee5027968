// SPDX-License-Identifier: Apache-2.0
//
// What the benchmark programs have in common: their start, and what their output says of the run.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace qdial::bench {

/// Gives the program's arguments to the library; ends the program if it does not know one.
inline void initialize(std::vector<char*> arguments) {
    // A benchmark's first batch is a whole measurement; a longer time given by the user repeats it.
    static std::string minimum_time = "--benchmark_min_time=0";
    arguments.insert(arguments.begin() + 1, minimum_time.data());
    int count = static_cast<int>(arguments.size());
    arguments.push_back(nullptr);
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) std::exit(1);
}

inline void add_context(std::string_view backend, const std::string& peer) {
    std::string cpu = "unknown";
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; cpu == "unknown" && std::getline(info, line);)
        if (line.starts_with("model name")) cpu = line.substr(line.find(':') + 2);
    benchmark::AddCustomContext("cpu", cpu);
    benchmark::AddCustomContext("backend", std::string(backend));
    benchmark::AddCustomContext("peer", peer);
}

}  // namespace qdial::bench
