// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

#include "qdial/config.hpp"

namespace qdial {

/// What gguf/ and model/ throw. `what()` is one line for a person: the file, the place, what was
/// found and what was expected. Kernels never throw.
class error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace qdial
