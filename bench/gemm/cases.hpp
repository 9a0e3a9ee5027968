// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "limits.hpp"
#include "team.hpp"

namespace qdial::bench {

/// What the machine can do with a number of threads, measured before all else.
struct machine_limits {
    const reading* way_to_read;
    double read_bytes_per_second, byte_operations_per_second, float_operations_per_second;
};

/// The team of so many threads; there is one of each size.
thread_team& team_of(std::size_t threads);

const machine_limits& limits_of(std::size_t threads);

/// gemm/FORMAT/ROWSxLENGTH/N…/threads… and pack/FORMAT/ROWSxLENGTH. Without `all` a part of the
/// shapes and numbers of columns, for some minutes.
/// Returns the backend: the best one that the build allows, AMX if the system does too.
std::string_view register_cases(bool all);

}  // namespace qdial::bench
