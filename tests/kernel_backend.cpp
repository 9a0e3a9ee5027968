// SPDX-License-Identifier: Apache-2.0
//
// The kernel tests of a backend really run that backend. The assertion holds it at compile time
// too, for backends that the testing CPU lacks.
#include <string>

#include "catch.hpp"
#include "qdial/simd/arch.hpp"

static_assert(qdial::default_arch::name == QDIAL_TEST_BACKEND);

TEST_CASE("the compiler flags of a backend select it") {
    REQUIRE(std::string(qdial::default_arch::name) == QDIAL_TEST_BACKEND);
}
