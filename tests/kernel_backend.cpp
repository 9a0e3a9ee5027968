// SPDX-License-Identifier: Apache-2.0
//
// The kernel tests of a backend really run that backend. The assertion holds it at compile time
// too, for backends that the testing CPU lacks.
#include <string>

#include "catch.hpp"
#include "kernel_support.hpp"

static_assert(qdial::default_arch::name ==
              (qdial_test::with_emulated_widths ? "generic" : QDIAL_TEST_BACKEND));

TEST_CASE("the compiler flags of a backend select it") {
    std::string names;
    qdial_test::for_each_arch([&](auto arch) { names += std::string(decltype(arch)::name) + " "; });
    const std::string expected = qdial_test::with_emulated_widths
                                     ? "generic emulated emulated emulated "
                                     : QDIAL_TEST_BACKEND " ";
    REQUIRE(names == expected);
}
