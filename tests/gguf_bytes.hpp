// SPDX-License-Identifier: Apache-2.0
//
// GGUF files made by hand, field by field, so that tests can make any of them wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"
#include "qdial/error.hpp"

namespace gguf_test {

/// Appends the fields of a GGUF file, little-endian.
struct bytes {
    std::vector<std::byte> data;

    bytes& u8(std::uint8_t v) { return number(v, 1); }
    bytes& u16(std::uint16_t v) { return number(v, 2); }
    bytes& u32(std::uint32_t v) { return number(v, 4); }
    bytes& u64(std::uint64_t v) { return number(v, 8); }
    bytes& i64(std::int64_t v) { return number(static_cast<std::uint64_t>(v), 8); }
    bytes& raw(std::string_view text) {
        for (const char c : text) data.push_back(static_cast<std::byte>(c));
        return *this;
    }
    bytes& string(std::string_view text) { return u64(text.size()).raw(text); }
    bytes& header(std::uint32_t version, std::int64_t n_tensors, std::int64_t n_entries) {
        return raw("GGUF").u32(version).i64(n_tensors).i64(n_entries);
    }
    bytes& entry_u32(std::string_view key, std::uint32_t value) {
        return string(key).u32(4).u32(value);
    }
    bytes& tensor(std::string_view name, const std::vector<std::int64_t>& shape,
                  std::uint32_t type, std::uint64_t offset) {
        string(name).u32(static_cast<std::uint32_t>(shape.size()));
        for (const std::int64_t n : shape) i64(n);
        return u32(type).u64(offset);
    }
    /// Zeros up to a multiple of `alignment`.
    bytes& pad(std::size_t alignment = 32) {
        while (data.size() % alignment != 0) u8(0);
        return *this;
    }
    bytes& zeros(std::size_t count) {
        data.insert(data.end(), count, std::byte{});
        return *this;
    }

private:
    bytes& number(std::uint64_t value, int size) {
        for (int i = 0; i < size; ++i) data.push_back(static_cast<std::byte>(value >> (8 * i)));
        return *this;
    }
};

/// A small valid file with every kind of value: two strings in an array, every number type, two
/// tensors (F32 [4] "a" and Q4_0 [32, 3] "b").
inline std::vector<std::byte> small_file(std::uint32_t version = 3) {
    bytes b;
    b.header(version, 2, 14);
    b.string("u8").u32(0).u8(200);
    b.string("i8").u32(1).u8(0xFE);
    b.string("u16").u32(2).u16(65535);
    b.string("i16").u32(3).u16(0xFFFE);
    b.entry_u32("u32", 4000000000u);
    b.string("i32").u32(5).u32(0xFFFFFFFE);
    b.string("f32").u32(6).u32(0x3FC00000);  // 1.5
    b.string("bool").u32(7).u8(1);
    b.string("string").u32(8).string("text");
    b.string("strings").u32(9).u32(8).u64(3).string("x").string("").string("yz");
    b.string("u64").u32(10).u64(~0ull);
    b.string("i64").u32(11).i64(-2);
    b.string("f64").u32(12).u64(0x4004000000000000);  // 2.5
    b.string("numbers").u32(9).u32(5).u64(2).u32(7).u32(0xFFFFFFFF);
    b.tensor("a", {4}, 0, 0).tensor("b", {32, 3}, 2, 32).pad();
    for (std::uint8_t i = 0; i < 16; ++i) b.u8(i);
    b.pad();
    for (std::uint8_t i = 0; i < 54; ++i) b.u8(static_cast<std::uint8_t>(100 + i));
    return b.pad().data;
}

/// What `run` throws as a `qdial::error`; a text that no test expects if it throws none.
template <class Fn>
std::string error_of(Fn&& run) {
    try {
        run();
    } catch (const qdial::error& e) {
        return e.what();
    }
    return "(no error)";
}

/// A folder for one test, removed with all it holds.
struct scratch_folder {
    std::filesystem::path path;

    scratch_folder() {
        std::string name = (std::filesystem::temp_directory_path() / "qdial-test-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    scratch_folder(const scratch_folder&) = delete;
    scratch_folder& operator=(const scratch_folder&) = delete;
    ~scratch_folder() { std::filesystem::remove_all(path); }

    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (const auto& item : std::filesystem::directory_iterator(path))
            found.push_back(item.path().filename().string());
        return found;
    }
};

inline void write_file(const std::filesystem::path& path, std::span<const std::byte> data) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(data.data()),
              static_cast<std::streamsize>(data.size()));
    REQUIRE(out.flush());
}

inline std::string read_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace gguf_test
