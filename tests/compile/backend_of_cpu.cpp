// SPDX-License-Identifier: Apache-2.0
#include "qdial/simd/arch.hpp"

static_assert(qdial::default_arch::name == EXPECTED_BACKEND,
              "these flags select another backend");
