// SPDX-License-Identifier: Apache-2.0
//
// Dot products and activation quantizers: the documented arithmetic, the same bits on every
// backend, and no overflow at the extremes.
#include <algorithm>
#include <cfloat>
#include <limits>
#include <span>

#include "catch.hpp"
#include "kernel_support.hpp"
#include "qdial/kernels/activations.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/kernels/dot.hpp"
#include "qdial/kernels/quantize.hpp"

using namespace qdial_test;

namespace {

template <class Fn>
void for_each_weight_format(Fn fn) {
    for_each_format(all_formats{}, [&](auto f) {
        if constexpr (weight_format<decltype(f)>) fn(f);
    });
}

std::vector<float> random_floats(std::size_t n, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> x(n);
    for (float& v : x) v = normal(random);
    return x;
}

template <class A, class Arch>
std::vector<typename A::block> activations(const std::vector<float>& x) {
    std::vector<typename A::block> blocks(x.size() / A::block_length);
    if constexpr (A::is_float)
        quantize<A, Arch>(x, std::span<typename A::block>(blocks));
    else
        quantize_activations<A, Arch>(x, blocks);
    return blocks;
}

template <class F, class Arch>
float dot_of(const std::vector<typename F::block>& w,
             const std::vector<typename F::activation::block>& a) {
    return dot<F, Arch>(w, a);
}

/// The exact dot product of the decoded values, and the sum of the products' magnitudes.
struct exact_result {
    double sum, magnitude;
};
template <class F>
exact_result exact_dot(const std::vector<typename F::block>& w,
                       const std::vector<typename F::activation::block>& a) {
    std::vector<float> weights(w.size() * F::block_length), inputs(weights.size());
    dequantize<F, float, arch::generic>(w, weights);
    dequantize<typename F::activation, float, arch::generic>(a, inputs);
    double sum = 0, magnitude = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const double product = static_cast<double>(weights[i]) * static_cast<double>(inputs[i]);
        sum += product;
        magnitude += std::fabs(product);
    }
    return {sum, magnitude};
}

template <class Blocks>
std::vector<char> bytes_of(const Blocks& blocks) {
    std::vector<char> bytes(blocks.size() * sizeof blocks[0]);
    std::memcpy(bytes.data(), blocks.data(), bytes.size());
    return bytes;
}

float fold(const float (&p)[8]) {
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

float half(std::uint16_t bits) { return to_float(float16{bits}); }

/// What a contracted multiplication and addition would get wrong stays two operations here.
float product(float a, float b) {
    volatile float p = a * b;
    return p;
}

}  // namespace

TEST_CASE("dot products have the definition's bits on every backend") {
    for_each_weight_format([](auto f) {
        using F = decltype(f);
        using A = typename F::activation;
        for (const std::size_t n : {0u, 1u, 2u, 7u, 8u, 9u, 16u, 29u, 31u, 33u, 65u, 1000u}) {
            if (!F::is_float && n > 33) continue;
            const auto w = moderate_blocks<F>(n, static_cast<std::uint32_t>(n));
            const auto a = activations<A, arch::generic>(random_floats(n * F::block_length, 7));
            const float expected = dot_of<F, arch::generic>(w, a);
            for_each_arch([&](auto arch) {
                INFO(F::name << ", " << n << " blocks, on " << decltype(arch)::name);
                const float actual = dot_of<F, decltype(arch)>(w, a);
                REQUIRE(std::bit_cast<std::uint32_t>(actual) ==
                        std::bit_cast<std::uint32_t>(expected));
            });
        }
    });
}

TEST_CASE("dot products are those of the decoded values") {
    for_each_weight_format([](auto f) {
        using F = decltype(f);
        INFO(F::name);
        const std::size_t n = 4096 / F::block_length;
        const auto w = moderate_blocks<F>(n, 1);
        const auto a = activations<typename F::activation, default_arch>(random_floats(4096, 2));
        const exact_result exact = exact_dot<F>(w, a);
        // Q8_1's sum of codes was rounded to binary16, the rest to binary32.
        const bool rounded_sum = std::is_same_v<typename F::activation, q8_1>;
        const double tolerance = (rounded_sum ? 0x1p-11 : 0x1p-22) * exact.magnitude;
        CHECK(std::fabs(static_cast<double>(dot_of<F, default_arch>(w, a)) - exact.sum) <=
              tolerance);
    });
}

TEST_CASE("saturated codes and scales overflow nothing") {
    for_each_weight_format([](auto f) {
        using F = decltype(f);
        using A = typename F::activation;
        if constexpr (!F::is_float) {
            // All bits set, none, and those that make the largest negative codes and scales.
            for (const int byte : {0x00, 0xFF, 0x80, 0x7F, 0x0F, 0xF0}) {
                for (const float sign : {1.0f, -1.0f}) {
                    auto w = moderate_blocks<F>(8, 3);
                    for (auto& block : w) {
                        const auto d = block.d;
                        std::memset(static_cast<void*>(&block), byte, sizeof block);
                        block.d = d;
                        if constexpr (requires { block.m; }) block.m = 0x3000;
                        if constexpr (requires { block.dmin; }) block.dmin = 0x3000;
                    }
                    const std::vector<float> x(8 * F::block_length, sign);
                    const auto a = activations<A, arch::generic>(x);
                    const float expected = dot_of<F, arch::generic>(w, a);
                    const exact_result exact = exact_dot<F>(w, a);
                    for_each_arch([&](auto arch) {
                        INFO(F::name << " bytes " << byte << " on " << decltype(arch)::name);
                        const float actual = dot_of<F, decltype(arch)>(w, a);
                        REQUIRE(actual == expected);
                        REQUIRE(std::fabs(static_cast<double>(actual) - exact.sum) <=
                                0x1p-10 * exact.magnitude);
                    });
                }
            }
        }
    });
}

TEST_CASE("dot follows the documented order") {
    SECTION("Q4_0: one product of scales per block, eight partial sums") {
        const std::size_t n = 21;
        const auto w = moderate_blocks<q4_0>(n, 4);
        const auto a = activations<q8_0, default_arch>(random_floats(32 * n, 5));
        float p[8] = {};
        for (std::size_t k = 0; k < n; ++k) {
            int sum = 0;
            for (std::size_t j = 0; j < 16; ++j)
                sum += ((w[k].qs[j] & 15) - 8) * a[k].qs[j] +
                       ((w[k].qs[j] >> 4) - 8) * a[k].qs[j + 16];
            p[k % 8] += product(product(half(w[k].d), half(a[k].d)), static_cast<float>(sum));
        }
        CHECK(dot_of<q4_0, default_arch>(w, a) == fold(p));
    }
    SECTION("Q4_1: the minimum times the activations' sum") {
        const std::size_t n = 11;
        const auto w = moderate_blocks<q4_1>(n, 4);
        const auto a = activations<q8_1, default_arch>(random_floats(32 * n, 5));
        float p[8] = {};
        for (std::size_t k = 0; k < n; ++k) {
            int sum = 0;
            for (std::size_t j = 0; j < 16; ++j)
                sum += (w[k].qs[j] & 15) * a[k].qs[j] + (w[k].qs[j] >> 4) * a[k].qs[j + 16];
            const float scaled =
                product(product(half(w[k].d), half(a[k].d)), static_cast<float>(sum));
            p[k % 8] += scaled + product(half(w[k].m), half(a[k].s));
        }
        CHECK(dot_of<q4_1, default_arch>(w, a) == fold(p));
    }
    SECTION("Q2_K: integer scales and minima inside the super-block") {
        const std::size_t n = 10;
        const auto w = moderate_blocks<q2_k>(n, 4);
        const auto a = activations<q8_k, default_arch>(random_floats(256 * n, 5));
        float p[8] = {};
        for (std::size_t k = 0; k < n; ++k) {
            int sum = 0, minima = 0;
            for (std::size_t e = 0; e < 256; ++e) {
                const int code = w[k].qs[e / 128 * 32 + e % 32] >> 2 * (e % 128 / 32) & 3;
                sum += (w[k].scales[e / 16] & 15) * code * a[k].qs[e];
                minima += (w[k].scales[e / 16] >> 4) * a[k].qs[e];
            }
            p[k % 8] += product(product(half(w[k].d), a[k].d), static_cast<float>(sum)) -
                        product(product(half(w[k].dmin), a[k].d), static_cast<float>(minima));
        }
        CHECK(dot_of<q2_k, default_arch>(w, a) == fold(p));
    }
    SECTION("F32: 32 partial sums over elements") {
        const auto w = random_floats(77, 4), a = random_floats(77, 5);
        float s[32] = {}, p[8];
        for (std::size_t k = 0; k < 77; ++k) s[k % 32] += product(w[k], a[k]);
        for (std::size_t j = 0; j < 8; ++j) p[j] = (s[j] + s[j + 8]) + (s[j + 16] + s[j + 24]);
        CHECK(dot_of<f32, default_arch>(w, a) == fold(p));
    }
}

namespace {

/// Rows that quantizers find hard: ties of the largest, zeros, subnormals, huge and tiny scales.
std::vector<float> hard_activations() {
    std::vector<float> x = random_floats(256 * 24, 11);
    const auto row = [&](std::size_t r) { return std::span(x).subspan(256 * r, 256); };
    std::ranges::fill(row(0), 0.0f);
    std::ranges::fill(row(1), -0.0f);
    std::ranges::fill(row(2), -3.0f);
    for (std::size_t e = 0; e < 256; ++e) row(3)[e] = e % 2 == 0 ? -2.0f : 2.0f;
    row(4)[7] = 100.0f, row(4)[200] = -100.0f;
    row(5)[200] = 100.0f, row(5)[7] = -100.0f;
    for (float& v : row(6)) v *= 1e-41f;
    for (float& v : row(7)) v *= 3e-39f;
    for (float& v : row(8)) v *= 1e37f;
    for (float& v : row(9)) v = std::round(v * 20.0f) / 16.0f;
    for (std::size_t e = 0; e < 256; ++e) row(10)[e] = static_cast<float>(e) - 127.5f;
    std::ranges::fill(row(11), FLT_MIN / 8);
    for (std::size_t e = 0; e < 256; ++e) row(12)[e] = e == 255 ? 127.0f : 0.5f;
    for (std::size_t e = 0; e < 256; ++e) row(13)[e] = std::ldexp(1.0f, -static_cast<int>(e));
    return x;
}

int nearest_even(float v) {
    return static_cast<int>(std::bit_cast<std::uint32_t>(v + 12582912.0f) & 0x7FFFFF) - 0x400000;
}

}  // namespace

TEST_CASE("activation blocks have the same bytes on every backend") {
    std::vector<float> x = hard_activations();
    // And what no model should hold.
    x[256 * 14 + 3] = std::numeric_limits<float>::quiet_NaN();
    x[256 * 15 + 100] = std::numeric_limits<float>::infinity();
    x[256 * 16 + 40] = -std::numeric_limits<float>::infinity();
    x[256 * 16 + 41] = std::numeric_limits<float>::quiet_NaN();
    std::fill_n(x.begin() + 256 * 17, 256, std::numeric_limits<float>::quiet_NaN());
    const auto check = [&](auto f) {
        using A = decltype(f);
        const auto expected = bytes_of(activations<A, arch::generic>(x));
        for_each_arch([&](auto arch) {
            INFO(A::name << " on " << decltype(arch)::name);
            REQUIRE(bytes_of(activations<A, decltype(arch)>(x)) == expected);
        });
    };
    check(q8_0{});
    check(q8_1{});
    check(q8_k{});
    for (const auto& block : activations<q8_k, default_arch>(x))
        for (const auto code : block.qs) REQUIRE(code >= -127);
}

TEST_CASE("Q8_0 activations are Q8_0 weights, Q8_1 adds the sum") {
    const auto x = hard_activations();
    std::vector<q8_0::block> weights(x.size() / 32);
    quantize<q8_0, default_arch>(x, std::span<q8_0::block>(weights));
    const auto zero = activations<q8_0, default_arch>(x);
    const auto one = activations<q8_1, default_arch>(x);
    REQUIRE(bytes_of(zero) == bytes_of(weights));
    for (std::size_t b = 0; b < zero.size(); ++b) {
        REQUIRE(one[b].d == zero[b].d);
        REQUIRE(std::equal(std::begin(one[b].qs), std::end(one[b].qs), std::begin(zero[b].qs)));
        float largest = 0.0f;
        int sum = 0;
        for (std::size_t j = 0; j < 32; ++j) {
            largest = std::max(largest, std::fabs(x[32 * b + j]));
            sum += one[b].qs[j];
        }
        REQUIRE(one[b].s == to_float16(product(static_cast<float>(sum), largest / 127.0f)).bits);
    }
}

TEST_CASE("Q8_K activations follow the scalar steps") {
    const auto x = hard_activations();
    const auto blocks = activations<q8_k, default_arch>(x);
    for (std::size_t b = 0; b < blocks.size(); ++b) {
        INFO("row " << b);
        const auto row = std::span(x).subspan(256 * b, 256);
        float extreme = 0.0f;
        for (const float v : row)
            if (std::fabs(v) > std::fabs(extreme)) extreme = v;
        const float inverse = extreme == 0.0f ? 0.0f : -127.0f / extreme;
        const float d = extreme == 0.0f ? 0.0f : 1.0f / inverse;
        REQUIRE(std::bit_cast<std::uint32_t>(blocks[b].d) == std::bit_cast<std::uint32_t>(d));
        int sums[16] = {};
        for (std::size_t e = 0; e < 256; ++e) {
            // An infinite inverse gives products that no integer holds: the low byte is 0.
            const bool finite = std::fabs(inverse) <= FLT_MAX;
            const int code = finite ? std::min(127, nearest_even(product(inverse, row[e]))) : 0;
            REQUIRE(blocks[b].qs[e] == code);
            sums[e / 16] += code;
        }
        for (std::size_t k = 0; k < 16; ++k) REQUIRE(blocks[b].bsums[k] == sums[k]);
    }
}
