// SPDX-License-Identifier: Apache-2.0
//
// Decoders: the reference's floats on every backend, and the scalar definition's on any bytes.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <span>

#include "catch.hpp"
#include "kernel_support.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "sha256.hpp"

using namespace qdial_test;

namespace {

const std::string golden_folder = std::string(QDIAL_TEST_DATA_DIR) + "/blocks/";

/// File stem to SHA-256 of the floats that the reference decodes.
std::map<std::string, std::string> golden_hashes() {
    std::ifstream file(golden_folder + "dequantized.sha256");
    std::map<std::string, std::string> hashes;
    std::string hash, stem;
    while (file >> hash >> stem) hashes[stem] = hash;
    return hashes;
}

template <class F>
std::vector<typename F::block> golden_blocks(const std::string& stem) {
    std::ifstream file(golden_folder + stem + ".bin", std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    std::vector<typename F::block> blocks(bytes.size() / sizeof(typename F::block));
    REQUIRE(blocks.size() * F::block_length == 22 * 1024);
    std::memcpy(static_cast<void*>(blocks.data()), bytes.data(), bytes.size());
    return blocks;
}

template <class F, class Out, class Arch>
std::vector<Out> decode(const std::vector<typename F::block>& blocks) {
    std::vector<Out> out(blocks.size() * F::block_length);
    dequantize<F, Out, Arch>(blocks, out);
    return out;
}

template <class Fn>
void for_each_decoder(Fn fn) {
    for_each_format(all_formats{}, [&](auto f) {
        if constexpr (decodable_format<decltype(f)>) fn(f);
    });
}

/// Decoding to 16 bits is decoding to floats and rounding them.
template <class F, class Out, class Arch>
void check_rounded(const std::vector<typename F::block>& blocks, const std::vector<float>& floats) {
    std::vector<Out> expected(floats.size());
    for (std::size_t i = 0; i < floats.size(); ++i) {
        if constexpr (std::is_same_v<Out, float16>)
            expected[i] = to_float16(floats[i]);
        else
            expected[i] = to_bfloat16(floats[i]);
    }
    REQUIRE(count_different(decode<F, Out, Arch>(blocks), expected) == 0);
}

}  // namespace

TEST_CASE("SHA-256 of known messages") {
    REQUIRE(sha256("abc", 3) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    REQUIRE(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56) ==
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("golden blocks decode to the reference's floats") {
    const auto hashes = golden_hashes();
    std::size_t checked = 0;
    for_each_decoder([&](auto f) {
        using F = decltype(f);
        std::string stem;
        for (const char c : F::name) stem += c == 'K' ? c : qdial::detail::to_lower(c);
        for (const std::string& name : {stem, stem + ".imatrix"}) {
            if (!hashes.contains(name)) continue;
            const auto blocks = golden_blocks<F>(name);
            for_each_arch([&](auto a) {
                INFO(name << " on " << decltype(a)::name);
                const auto floats = decode<F, float, decltype(a)>(blocks);
                CHECK(sha256(floats.data(), floats.size() * sizeof(float)) == hashes.at(name));
                ++checked;
            });
        }
    });
    REQUIRE(checked % hashes.size() == 0);
    REQUIRE(checked != 0);
}

TEST_CASE("any bytes decode as the scalar definition decodes them") {
    for_each_decoder([](auto f) {
        using F = decltype(f);
        const auto blocks = random_blocks<F>(F::is_float ? 2051 : 301, 17);
        const auto expected = decode<F, float, arch::generic>(blocks);
        for_each_arch([&](auto a) {
            using Arch = decltype(a);
            INFO(F::name << " on " << Arch::name);
            REQUIRE(count_different(decode<F, float, Arch>(blocks), expected) == 0);
            check_rounded<F, float16, Arch>(blocks, expected);
            check_rounded<F, bfloat16, Arch>(blocks, expected);
        });
    });
}

TEST_CASE("every 16-bit float widens to the same bits") {
    std::vector<float16> halves;
    std::vector<bfloat16> brains;
    for (unsigned bits = 0; bits < 0x10000; ++bits) {
        halves.push_back({static_cast<std::uint16_t>(bits)});
        brains.push_back({static_cast<std::uint16_t>(bits)});
    }
    const auto count = [](const auto& in, const auto& out) {
        std::size_t different = 0;
        for (std::size_t i = 0; i < in.size(); ++i)
            different += std::bit_cast<std::uint32_t>(out[i]) !=
                         std::bit_cast<std::uint32_t>(to_float(in[i]));
        return different;
    };
    for_each_arch([&](auto a) {
        using Arch = decltype(a);
        INFO(Arch::name);
        // NaN included: its payload is kept and it becomes quiet.
        CHECK(count(halves, decode<f16, float, Arch>(halves)) == 0);
        CHECK(count(brains, decode<bf16, float, Arch>(brains)) == 0);
    });
    CHECK(std::bit_cast<std::uint32_t>(to_float(float16{0xFC01})) == 0xFFC02000u);
    CHECK(to_float(float16{0x0001}) == 0x1p-24f);
    CHECK(to_float(float16{0x7BFF}) == 65504.0f);
}

TEST_CASE("every NaN becomes the quiet NaN of its sign in binary16") {
    std::vector<float> nans;
    for (std::uint32_t bits = 0x7F800001u; bits < 0x7FFFF000u; bits += 0x10001u) {
        nans.push_back(std::bit_cast<float>(bits));
        nans.push_back(std::bit_cast<float>(bits | 0x80000000u));
    }
    for_each_arch([&](auto a) {
        const auto halves = decode<f32, float16, decltype(a)>(nans);
        std::size_t different = 0;
        for (std::size_t i = 0; i < nans.size(); ++i)
            different += halves[i].bits != (i % 2 == 0 ? 0x7E00 : 0xFE00);
        CHECK(different == 0);
    });
}

TEST_CASE("activation blocks decode to code times scale") {
    const auto q8_1_blocks = moderate_blocks<q8_1>(9, 3);
    const auto q8_1_floats = decode<q8_1, float, default_arch>(q8_1_blocks);
    for (std::size_t i = 0; i < q8_1_floats.size(); ++i) {
        const auto& block = q8_1_blocks[i / 32];
        REQUIRE(q8_1_floats[i] ==
                static_cast<float>(block.qs[i % 32]) * to_float(float16{block.d}));
    }
    auto q8_k_blocks = random_blocks<q8_k>(4, 4);
    for (std::size_t b = 0; b < 4; ++b) q8_k_blocks[b].d = b == 3 ? 1e-41f : 0.3f;
    const auto q8_k_floats = decode<q8_k, float, default_arch>(q8_k_blocks);
    for (std::size_t i = 0; i < q8_k_floats.size(); ++i) {
        const auto& block = q8_k_blocks[i / 256];
        REQUIRE(q8_k_floats[i] == static_cast<float>(block.qs[i % 256]) * block.d);
    }
}

TEST_CASE("nothing is written behind the output") {
    for_each_decoder([](auto f) {
        using F = decltype(f);
        INFO(F::name);
        for (std::size_t n = 0; n < (F::is_float ? 70 : 4); ++n) {
            const auto blocks = random_blocks<F>(n, 1);
            std::vector<float> out(n * F::block_length + 64, -7.0f);
            dequantize<F>(std::span<const typename F::block>(blocks),
                          std::span(out).first(n * F::block_length));
            REQUIRE(std::all_of(out.end() - 64, out.end(), [](float x) { return x == -7.0f; }));
        }
    });
}

TEST_CASE("rows decode as a whole, in any order of tasks") {
    for_each_decoder([](auto f) {
        using F = decltype(f);
        INFO(F::name);
        const std::size_t row_length = 3 * F::block_length;
        const auto blocks = random_blocks<F>(3 * 5, 9);
        std::vector<float> out(5 * row_length);
        std::size_t tasks = 0;
        const auto backwards = [&](std::size_t n, auto&& task) {
            for (tasks = n; n-- > 0;) task(n);
        };
        dequantize_rows<F, float, default_arch>(blocks, row_length, std::span<float>(out),
                                                backwards);
        REQUIRE(tasks == 5);
        REQUIRE(count_different(out, decode<F, float, default_arch>(blocks)) == 0);
    });
}
