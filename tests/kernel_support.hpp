// SPDX-License-Identifier: Apache-2.0
//
// What tests of decoders and dot products share: the backends to run on, random blocks, and
// equality of floats by their bits.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qdial/float16.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/simd/arch.hpp"

namespace qdial_test {

using namespace qdial;

/// Whether this program also runs the kernels at the widths of SIMD registers, on arrays.
inline constexpr bool with_emulated_widths = std::string_view(QDIAL_TEST_BACKEND) == "emulated";

/// Calls fn(Arch{}) for this program's backends.
template <class Fn>
void for_each_arch(Fn fn) {
    fn(default_arch{});
    if constexpr (with_emulated_widths) {
        fn(arch::emulated<128>{});
        fn(arch::emulated<256>{});
        fn(arch::emulated<512>{});
    }
}

/// Equal bits, or both NaN: which NaN arithmetic gives depends on the processor.
inline bool same(float a, float b) {
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (a != a && b != b);
}
inline bool same(float16 a, float16 b) { return a == b || same(to_float(a), to_float(b)); }
inline bool same(bfloat16 a, bfloat16 b) { return a == b || same(to_float(a), to_float(b)); }

/// The number of elements that differ.
template <class T>
std::size_t count_different(const std::vector<T>& a, const std::vector<T>& b) {
    if (a.size() != b.size()) return a.size() + b.size();
    std::size_t different = 0;
    for (std::size_t i = 0; i < a.size(); ++i) different += !same(a[i], b[i]);
    return different;
}

/// Blocks of random bytes: scales of any kind, infinities and NaN included.
template <class F>
std::vector<typename F::block> random_blocks(std::size_t n, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<typename F::block> blocks(n);
    for (auto& block : blocks) {
        unsigned char bytes[sizeof block];
        for (auto& byte : bytes) byte = static_cast<unsigned char>(random());
        std::memcpy(static_cast<void*>(&block), bytes, sizeof block);
    }
    return blocks;
}

/// A binary16 of either sign with a magnitude in [2^-7, 2^-5).
inline std::uint16_t moderate_half(std::mt19937& random) {
    return static_cast<std::uint16_t>((random() & 0x8000u) | (0x2000u + random() % 0x0800u));
}

/// Blocks with random codes and integer scales under moderate factors.
template <class F>
std::vector<typename F::block> moderate_blocks(std::size_t n, std::uint32_t seed) {
    std::mt19937 random(seed);
    auto blocks = random_blocks<F>(n, seed + 1);
    for (auto& block : blocks) {
        if constexpr (std::is_same_v<F, f32>)
            block = to_float(float16{moderate_half(random)}) * 1.0009765f;
        else if constexpr (std::is_same_v<F, f16>)
            block.bits = moderate_half(random);
        else if constexpr (std::is_same_v<F, bf16>)
            block = to_bfloat16(to_float(float16{moderate_half(random)}));
        else
            block.d = moderate_half(random);
        if constexpr (requires { block.m; }) block.m = moderate_half(random);
        if constexpr (requires { block.dmin; }) block.dmin = moderate_half(random);
    }
    return blocks;
}

}  // namespace qdial_test
