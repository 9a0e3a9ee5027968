// SPDX-License-Identifier: Apache-2.0
//
// What tests include for Catch2, version 2 (one header) or 3 (many).
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
