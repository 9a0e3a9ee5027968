// SPDX-License-Identifier: Apache-2.0
//
// Damaged GGUF files: cut at every byte and with random bits flipped. Either the file is refused
// with an error, or everything it hands out lies inside it and can be read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "gguf_bytes.hpp"
#include "qdial/gguf/reader.hpp"

namespace gguf = qdial::gguf;

namespace {

/// Reads every byte that an open file hands out; an address sanitizer sees what lies outside.
std::uint64_t read_all(const gguf::file& file) {
    std::uint64_t sum = 0;
    const auto add = [&](std::string_view text) {
        for (const char c : text) sum += static_cast<unsigned char>(c);
    };
    for (const gguf::entry& e : file.metadata()) {
        add(e.key());
        e.value().visit([&](auto value) {
            using V = decltype(value);
            if constexpr (std::is_same_v<V, std::string_view>) {
                add(value);
            } else if constexpr (std::is_same_v<V, gguf::array_view>) {
                for (const std::string_view s : value.strings()) add(s);
                if (value.element_type() != gguf::value_type::string)
                    for (std::size_t i = 0; i < value.size(); ++i)
                        sum += value.template at<std::uint64_t>(i).value_or(0);
            } else {
                sum += value != V{};
            }
        });
    }
    for (const gguf::tensor& t : file.tensors()) {
        add(t.name);
        for (const std::byte b : t.data) sum += std::to_integer<std::uint64_t>(b);
    }
    return sum;
}

/// Opens an exactly-sized copy. True if it opened; errors must be one line that names the file.
bool opens(std::span<const std::byte> data) {
    const std::vector<std::byte> copy(data.begin(), data.end());
    try {
        read_all(gguf::file(copy, "damaged"));
        return true;
    } catch (const qdial::error& e) {
        const std::string text = e.what();
        CHECK(text.starts_with("damaged: "));
        CHECK(text.find('\n') == std::string::npos);
        return false;
    }
}

std::uint32_t seed() {
    const char* given = std::getenv("QDIAL_TEST_SEED");
    return given ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10))
                 : std::random_device{}();
}

}  // namespace

TEST_CASE("a file cut anywhere before the last byte of its data is refused") {
    const std::vector<std::byte> whole = gguf_test::small_file();
    const std::size_t padding = 10;  // 54 bytes of data in 64
    for (std::size_t size = 0; size <= whole.size(); ++size) {
        CAPTURE(size);
        CHECK(opens(std::span(whole).first(size)) == (size >= whole.size() - padding));
    }
}

TEST_CASE("random damage is refused or harmless") {
    const std::uint32_t used = seed();
    CAPTURE(used);
    std::mt19937 random(used);
    const std::vector<std::byte> whole = gguf_test::small_file();
    int refused = 0;
    constexpr int rounds = 20000;
    for (int round = 0; round < rounds; ++round) {
        std::vector<std::byte> damaged = whole;
        const unsigned flips = 1 + random() % 4;
        for (unsigned i = 0; i < flips; ++i)
            damaged[random() % damaged.size()] ^= static_cast<std::byte>(1u << (random() % 8));
        refused += !opens(damaged);
    }
    // Flips in data, values and padding are no damage that a reader could see.
    CHECK(refused > rounds / 4);
    CHECK(refused < rounds);
}

TEST_CASE("random fields full of extreme numbers are refused or harmless") {
    const std::uint32_t used = seed();
    CAPTURE(used);
    std::mt19937 random(used);
    const std::vector<std::byte> whole = gguf_test::small_file();
    constexpr std::uint64_t extremes[] = {0, 1, 31, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
                                          1ull << 32, 1ull << 62, INT64_MAX, 1ull << 63, ~0ull,
                                          ~0ull - 31};
    int refused = 0;
    for (std::size_t at = 0; at + 8 <= whole.size(); ++at) {
        for (const std::uint64_t extreme : extremes) {
            std::vector<std::byte> damaged = whole;
            std::memcpy(damaged.data() + at, &extreme, random() % 2 ? 4 : 8);
            refused += !opens(damaged);
        }
    }
    CHECK(refused > static_cast<int>(whole.size()));
}
