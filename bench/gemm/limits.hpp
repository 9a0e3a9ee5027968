// SPDX-License-Identifier: Apache-2.0
//
// The machine's limits as contestants of a paired run, on one thread or several.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

#include "../paired.hpp"
#include "../peaks.hpp"
#include "team.hpp"

namespace qdial::bench {

/// Reads memory with this many threads of a team: each reads a part of it.
inline void read_with(thread_team& team, std::size_t threads, const reading& way,
                      std::span<const std::byte> memory) {
    const std::size_t part = (memory.size() / threads + 63) / 64 * 64;
    team(threads, [&](std::size_t i) {
        const std::size_t start = std::min(i * part, memory.size());
        way.read(memory.data() + start, std::min(part, memory.size() - start));
    });
}

/// The way that reads `memory`, larger than the caches, in the least time, and that time.
struct measured_reading {
    const reading* way = nullptr;
    double seconds = 0.0;
};
inline measured_reading fastest_reading(thread_team& team, std::size_t threads,
                                        std::span<const std::byte> memory) {
    measured_reading best;
    for (int round = 0; round < 9; ++round)
        for (const reading& way : readings) {
            const double start = wall_seconds();
            read_with(team, threads, way, memory);
            const double seconds = wall_seconds() - start;
            if (best.way == nullptr || seconds < best.seconds) best = {&way, seconds};
        }
    return best;
}

/// Operations of one peak call of this many threads, about 50 microseconds long.
template <measured_peak Peak>
double run_peak_with(thread_team& team, std::size_t threads) {
    constexpr std::size_t steps = 10'000;
    double operations = 0.0;
    team(threads, [&](std::size_t i) {
        const double mine = run_peak<Peak>(steps);
        if (i == 0) operations = mine * static_cast<double>(threads);
    });
    return operations;
}

}  // namespace qdial::bench
