// SPDX-License-Identifier: Apache-2.0
//
// The primitives of this backend against the arrays of the scalar definition, bit for bit.
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "catch.hpp"
#include "kernel_support.hpp"
#include "qdial/simd/lanes.hpp"

using namespace qdial;

namespace {

constexpr std::size_t lanes = 16;  // as many as the widest backend has

struct operands {
    float a[lanes], b[lanes];
    std::int32_t i[lanes], j[lanes];
};

operands draw(std::mt19937& random) {
    const auto any_float = [&] {
        const float unit = static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-31f;
        switch (random() % 12) {
            case 0:
                return 0.0f;
            case 1:
                return -0.0f;
            case 2:
                return std::ldexp(unit, -130);
            case 3:
                return std::ldexp(unit, 17);
            default:
                return std::ldexp(unit, static_cast<int>(random() % 40) - 30);
        }
    };
    operands o;
    for (std::size_t k = 0; k < lanes; ++k) {
        o.a[k] = any_float();
        o.b[k] = random() % 8 ? any_float() : o.a[k];
        o.i[k] = static_cast<std::int32_t>(random());
        o.j[k] = random() % 4 ? static_cast<std::int32_t>(random()) : o.i[k];
    }
    return o;
}

using results = std::vector<std::uint32_t>;

/// Every primitive of `Arch` on the operands, the results as bits.
template <class Arch>
results all_primitives(const operands& in) {
    using O = simd::ops<Arch>;
    results out;
    const auto floats = [&](auto fn) {
        float r[lanes];
        for (std::size_t k = 0; k < lanes; k += O::width)
            O::store(r + k, fn(O::load(in.a + k), O::load(in.b + k)));
        for (const float v : r) out.push_back(std::bit_cast<std::uint32_t>(v));
    };
    const auto to_ints = [&](auto fn) {
        std::int32_t r[lanes];
        for (std::size_t k = 0; k < lanes; k += O::width)
            O::store(r + k, fn(O::load(in.a + k), O::load(in.b + k)));
        for (const auto v : r) out.push_back(std::bit_cast<std::uint32_t>(v));
    };
    const auto ints = [&](auto fn) {
        std::int32_t r[lanes];
        for (std::size_t k = 0; k < lanes; k += O::width)
            O::store(r + k, fn(O::load(in.i + k), O::load(in.j + k)));
        for (const auto v : r) out.push_back(std::bit_cast<std::uint32_t>(v));
    };
    floats([](auto a, auto b) { return O::add(a, b); });
    floats([](auto a, auto b) { return O::sub(a, b); });
    floats([](auto a, auto b) { return O::mul(a, b); });
    floats([](auto a, auto b) { return O::add(O::mul(a, b), b); });  // never fused
    floats([](auto a, auto b) { return O::div(a, O::add(O::splat(1.0f), O::abs(b))); });
    floats([](auto a, auto) { return O::sqrt(O::abs(a)); });
    floats([](auto a, auto b) { return O::max(a, b); });
    floats([](auto a, auto b) { return O::min(a, b); });
    floats([](auto a, auto b) { return O::select(O::lt(a, b), a, b); });
    floats([](auto a, auto b) { return O::select(O::le(a, b), a, O::splat(1.0f)); });
    floats([](auto a, auto b) { return O::select(O::bit_not(O::eq(a, b)), a, O::splat(1.0f)); });
    floats([](auto a, auto b) {
        const auto positive = O::lt(O::splat(0.0f), a);
        return O::select(O::bit_and(O::lt(a, b), positive), a, b);
    });
    floats([](auto a, auto b) {
        const auto positive = O::lt(O::splat(0.0f), a);
        return O::select(O::bit_or(O::lt(a, b), positive), a, b);
    });
    floats([](auto a, auto) { return O::from_half(O::to_half(a)); });
    to_ints([](auto a, auto) { return O::to_half(a); });
    to_ints([](auto a, auto) { return O::bits(a); });
    to_ints([](auto a, auto) { return O::truncate(a); });
    ints([](auto i, auto j) { return O::add(i, j); });
    ints([](auto i, auto j) { return O::sub(i, j); });
    ints([](auto i, auto j) { return O::bit_or(O::bit_and(i, j), O::template shl<5>(i)); });
    ints([](auto i, auto j) { return O::max(i, O::template sar<3>(j)); });
    ints([](auto i, auto j) { return O::min(i, O::template sar<1>(j)); });
    ints([](auto i, auto j) { return O::select(O::gt(i, j), i, j); });
    ints([](auto i, auto j) { return O::select(O::eq(i, j), O::splat(3), j); });
    ints([](auto i, auto) { return O::bits(O::to_float(i)); });
    return out;
}

}  // namespace

TEST_CASE("primitives give the bits of the scalar definition") {
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 500; ++round) {
        const operands in = draw(random);
        const results expected = all_primitives<arch::generic>(in);
        qdial_test::for_each_arch([&](auto arch) {
            const results found = all_primitives<decltype(arch)>(in);
            std::size_t k = 0;
            while (k < expected.size() && found[k] == expected[k]) ++k;
            INFO(decltype(arch)::name << ", primitive " << k / lanes << ", lane " << k % lanes);
            REQUIRE(k == expected.size());
        });
    }
}

TEST_CASE("every half widens and narrows to itself") {
    using O = simd::ops<default_arch>;
    for (std::int32_t first = 0; first < 0x10000; first += static_cast<std::int32_t>(O::width)) {
        std::int32_t half[O::width], back[O::width];
        float wide[O::width];
        for (std::size_t k = 0; k < O::width; ++k) half[k] = first + static_cast<std::int32_t>(k);
        O::store(wide, O::from_half(O::load(half)));
        O::store(back, O::to_half(O::load(wide)));
        for (std::size_t k = 0; k < O::width; ++k) {
            const auto bits = static_cast<std::uint16_t>(half[k]);
            const bool nan = (bits & 0x7FFF) > 0x7C00;
            INFO("half " << half[k]);
            REQUIRE(std::isnan(wide[k]) == nan);
            if (!nan) REQUIRE(wide[k] == to_float(float16{bits}));
            REQUIRE(back[k] == (nan ? (half[k] & 0x8000) | 0x7E00 : half[k]));
        }
    }
}

TEST_CASE("a tile transposes") {
    using O = simd::ops<default_arch>;
    float tile[O::width][O::width];
    typename O::f rows[O::width];
    for (std::size_t r = 0; r < O::width; ++r) {
        for (std::size_t c = 0; c < O::width; ++c)
            tile[r][c] = static_cast<float>(r * O::width + c);
        rows[r] = O::load(tile[r]);
    }
    O::transpose(rows);
    for (std::size_t r = 0; r < O::width; ++r) {
        O::store(tile[r], rows[r]);
        for (std::size_t c = 0; c < O::width; ++c)
            REQUIRE(tile[r][c] == static_cast<float>(c * O::width + r));
    }
}
