// SPDX-License-Identifier: Apache-2.0
//
// Encoders: the reference's bytes on this backend (or on the emulated widths) and on the scalar
// definition as this backend's flags compile it.
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "kernel_support.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/quantize.hpp"

using namespace qdial;

namespace {

constexpr std::size_t golden_row = 1024;

std::vector<char> read_golden(const std::string& name) {
    const std::string path = std::string(QDIAL_TEST_DATA_DIR) + "/" + name;
    std::ifstream file(path, std::ios::binary);
    INFO(path);
    REQUIRE(file);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> read_golden_floats(const std::string& name) {
    const auto bytes = read_golden(name);
    std::vector<float> floats(bytes.size() / sizeof(float));
    std::memcpy(floats.data(), bytes.data(), bytes.size());
    return floats;
}

/// The golden files are named in lower case, the K excepted.
template <class F>
std::string golden_stem() {
    std::string stem;
    for (const char c : F::name) stem += c == 'K' ? c : detail::to_lower(c);
    return stem;
}

template <class F, class Arch>
std::vector<char> encode(const std::vector<float>& x, std::size_t row_length,
                         const std::vector<float>& importance) {
    std::vector<typename F::block> blocks(x.size() / F::block_length);
    quantize_rows<F, Arch>(x, row_length, blocks, importance);
    std::vector<char> bytes(blocks.size() * sizeof(typename F::block));
    std::memcpy(bytes.data(), blocks.data(), bytes.size());
    return bytes;
}

/// Calls fn(F{}) for every format with an encoder, F32 excepted (its golden is its input).
template <class Fn>
void for_each_encoder(Fn fn) {
    for_each_format(all_formats{}, [&](auto f) {
        using F = decltype(f);
        if constexpr (F::encodable && !std::is_same_v<F, f32>) fn(f);
    });
}

/// This program's backends, and the scalar definition.
template <class Fn>
void for_each_arch(Fn fn) {
    qdial_test::for_each_arch(fn);
    if constexpr (!std::is_same_v<default_arch, arch::generic>) fn(arch::generic{});
}

std::size_t first_difference(const std::vector<char>& a, const std::vector<char>& b) {
    std::size_t i = 0;
    while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
    return i;
}

/// The random generator of the published hashes (xorshift64, upper bits).
class reference_random {
public:
    std::uint32_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return static_cast<std::uint32_t>(state_ >> 16);
    }
    float uniform() { return static_cast<float>(next() & 0xFFFFFF) * 0x1p-24f; }
    float normal() {
        float sum = 0.0f;
        for (int k = 0; k < 12; ++k) sum += uniform();
        return sum - 6.0f;
    }

private:
    std::uint64_t state_ = 88172645463325252u;
};

struct published {
    const char* name;
    std::uint64_t plain;
    std::uint64_t weighted;
};

// FNV-1a over the reference's own output for sixty rows of `reference_random`.
constexpr published hashes[] = {
    {"Q4_0", 0xd2e4a8212bef8167, 0x3015061027effc20},
    {"Q4_1", 0xf189e1ce99733598, 0xbca81fc58fb2da68},
    {"Q5_0", 0x7f830f2e67664b04, 0xc5f1eaf93fe01589},
    {"Q5_1", 0x27c433d734b6c085, 0x89cff5ecae3d5119},
    {"Q8_0", 0xe0b22c5190f7f4ce, 0xe0b22c5190f7f4ce},
    {"Q2_K", 0x3b120aedba6ea742, 0x1296b3594d0a491c},
    {"Q3_K", 0x0547a9d986fe285d, 0x681211bd2b774ca3},
    {"Q4_K", 0x5f6c11f5ec7781d3, 0xe74dc017b4e787af},
    {"Q5_K", 0x20ec87425cb59fd9, 0x6eb1f5d7f6b0a82b},
    {"Q6_K", 0x6d9b6d9be1635ddd, 0x92a45e7bd9cf01f8},
};

template <class F, class Arch>
std::uint64_t hash_of_sixty_rows(bool weighted) {
    reference_random random;
    std::uint64_t hash = 1469598103934665603u;
    for (int q = 0; q < 60; ++q) {
        const float scale = std::ldexp(1.0f, -static_cast<int>(random.next() % 9));
        std::vector<float> x(256), importance(256);
        for (std::size_t i = 0; i < 256; ++i) {
            float v = random.normal();
            if (q % 4 == 1) v = v * v;
            if (q % 4 == 2 && random.uniform() < 0.6f) v = 0.0f;
            x[i] = v * scale;
            importance[i] = 0.05f + random.uniform();
        }
        for (const char byte :
             encode<F, Arch>(x, 256, weighted ? importance : std::vector<float>{}))
            hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211u;
    }
    return hash;
}

/// Rows that hurt: zeros of both signs, ties, constants, subnormals, outliers, float16 grids and
/// whatever bits come (NaN and infinities included) when `any_bits`.
std::vector<float> awkward_rows(std::mt19937& random, std::size_t rows, std::size_t length,
                                bool any_bits) {
    std::vector<float> x(rows * length);
    std::normal_distribution<float> normal;
    for (std::size_t r = 0; r < rows; ++r) {
        const int exponent = static_cast<int>(random() % 60) - 50;
        for (std::size_t i = 0; i < length; ++i) {
            float v = std::ldexp(normal(random), exponent);
            switch (r % 10) {
                case 1:
                    v = random() % 3 ? v : (random() % 2 ? 0.0f : -0.0f);
                    break;
                case 2:
                    v = random() % 2 ? 1.5f : -1.5f;
                    break;
                case 3:
                    v = -0.75f;
                    break;
                case 4:
                    v = std::bit_cast<float>(static_cast<std::uint32_t>(random() & 0x807FFFFFu));
                    break;
                case 5:
                    v = random() % 50 ? v : v * 1e4f;
                    break;
                case 6:
                    v = qdial::to_float(to_float16(v));
                    break;
                case 7:
                    v = std::fabs(v);
                    break;
                case 8:
                    v = std::ldexp(v, static_cast<int>(random() % 80) - 40);
                    break;
                case 9:
                    v = any_bits ? std::bit_cast<float>(static_cast<std::uint32_t>(random()))
                                 : v * 1e-30f;
                    break;
                default:
                    break;
            }
            x[r * length + i] = v;
        }
    }
    return x;
}

}  // namespace

TEST_CASE("encoders give the reference's bytes on the golden rows") {
    const auto x = read_golden_floats("blocks/input.f32");
    const auto importance = read_golden_floats("blocks/imatrix.f32");
    for_each_encoder([&](auto f) {
        using F = decltype(f);
        const auto plain = read_golden("blocks/" + golden_stem<F>() + ".bin");
        const auto weighted = read_golden("blocks/" + golden_stem<F>() + ".imatrix.bin");
        for_each_arch([&](auto a) {
            using A = decltype(a);
            INFO(F::name << " on " << A::name);
            CHECK(first_difference(encode<F, A>(x, golden_row, {}), plain) == plain.size());
            CHECK(first_difference(encode<F, A>(x, golden_row, importance), weighted) ==
                  weighted.size());
        });
    });
}

// Rare rows whose search for integer scales leaves a code above 63 (or 15), with what ggml 0.25
// makes of it. Each case of a file: 256 elements, their importance, the block.
TEST_CASE("scale codes above their range are stored as the reference stores them") {
    std::size_t cases = 0;
    const auto check = [&](auto f) {
        using F = decltype(f);
        constexpr std::size_t floats = 256 * sizeof(float);
        constexpr std::size_t size = 2 * floats + sizeof(typename F::block);
        const auto data = read_golden("scale_range/" + golden_stem<F>() + ".bin");
        REQUIRE(data.size() % size == 0);
        for (std::size_t at = 0; at < data.size(); at += size, ++cases) {
            std::vector<float> x(256), importance(256);
            std::memcpy(x.data(), data.data() + at, floats);
            std::memcpy(importance.data(), data.data() + at + floats, floats);
            const std::vector<char> expected(
                data.begin() + static_cast<std::ptrdiff_t>(at + 2 * floats),
                data.begin() + static_cast<std::ptrdiff_t>(at + size));
            for_each_arch([&](auto a) {
                using A = decltype(a);
                INFO(F::name << " on " << A::name << ", case at byte " << at);
                CHECK(encode<F, A>(x, 256, importance) == expected);
            });
        }
    };
    check(q2_k{});
    check(q4_k{});
    check(q5_k{});
    REQUIRE(cases == 12);
}

TEST_CASE("encoders give the published hashes") {
    for_each_encoder([&](auto f) {
        using F = decltype(f);
        for (const auto& row : hashes) {
            if (F::name != row.name) continue;
            INFO(row.name);
            CHECK(hash_of_sixty_rows<F, default_arch>(false) == row.plain);
            CHECK(hash_of_sixty_rows<F, default_arch>(true) == row.weighted);
        }
    });
}

TEST_CASE("backends agree on awkward rows, whatever their number") {
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    for (const std::size_t rows : {1u, 3u, 17u, 40u}) {
        const std::size_t length = 256 * (1 + random() % 3);
        const auto x = awkward_rows(random, rows, length, rows == 40);
        std::vector<float> importance(length);
        for (auto& v : importance)
            v = random() % 8 ? static_cast<float>(random() % 1000) / 64.0f : 0.0f;
        for_each_encoder([&](auto f) {
            using F = decltype(f);
            for (const auto& weights : {std::vector<float>{}, importance}) {
                const auto expected = encode<F, arch::generic>(x, length, weights);
                for_each_arch([&](auto a) {
                    using A = decltype(a);
                    INFO(F::name << " on " << A::name << ", " << rows << " rows of " << length
                                 << (weights.empty() ? "" : ", weighted"));
                    const auto at = first_difference(encode<F, A>(x, length, weights), expected);
                    INFO("row " << at * F::block_length / sizeof(typename F::block) / length);
                    CHECK(at == expected.size());
                });
            }
        });
    }
}

TEST_CASE("a row alone, a row among rows and any executor give the same bytes") {
    std::mt19937 random(7);
    const std::size_t rows = 70, length = 1536;
    const auto x = awkward_rows(random, rows, length, false);
    std::vector<float> importance(length, 0.5f);
    importance[3] = 40.0f;
    const auto backwards = [](std::size_t n, auto&& task) {
        while (n-- > 0) task(n);
    };
    for_each_encoder([&](auto f) {
        using F = decltype(f);
        using block = typename F::block;
        INFO(F::name);
        const std::size_t per_row = length / F::block_length;
        std::vector<block> together(rows * per_row), alone(rows * per_row);
        quantize_rows<F>(x, length, together, importance, backwards);
        for (std::size_t r = 0; r < rows; ++r)
            quantize<F>(std::span(x).subspan(r * length, length),
                        std::span(alone).subspan(r * per_row, per_row), importance);
        CHECK(std::memcmp(together.data(), alone.data(), alone.size() * sizeof(block)) == 0);
    });
}

TEST_CASE("nothing is encoded from nothing") {
    std::vector<q4_k::block> none;
    quantize<q4_k>(std::span<const float>{}, none);
    quantize_rows<q4_k>(std::span<const float>{}, 256, none);
    CHECK(none.empty());
}
