// SPDX-License-Identifier: Apache-2.0
//
// Reading GGUF files: what is accepted, and the exact error for everything that is not.
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "gguf_bytes.hpp"
#include "qdial/gguf/reader.hpp"

namespace gguf = qdial::gguf;
using gguf_test::bytes;

namespace {

std::string open_error(const bytes& b) {
    return gguf_test::error_of([&] { gguf::file(b.data, "m"); });
}

/// A file with one metadata entry of key "k"; `value` appends type and value.
template <class Fn>
std::string entry_error(Fn&& value) {
    bytes b;
    b.header(3, 0, 1).string("k");
    value(b);
    return open_error(b);
}

/// A file with the given tensors and 128 bytes of data behind them.
struct tensor_row {
    std::string name;
    std::vector<std::int64_t> shape;
    std::uint32_t type;
    std::uint64_t offset;
};
bytes file_of(std::initializer_list<tensor_row> rows) {
    bytes b;
    b.header(3, static_cast<std::int64_t>(rows.size()), 0);
    for (const tensor_row& r : rows) b.tensor(r.name, r.shape, r.type, r.offset);
    b.pad().zeros(128);
    return b;
}
std::string tensor_error(std::initializer_list<tensor_row> rows) {
    return open_error(file_of(rows));
}

constexpr std::int64_t big = std::int64_t{1} << 62;

}  // namespace

TEST_CASE("a valid file of version 2 or 3 opens with all it holds") {
    const std::uint32_t version = GENERATE(2u, 3u);
    const std::vector<std::byte> data = gguf_test::small_file(version);
    const gguf::file file(data, "small");
    CHECK(file.version() == version);
    CHECK(file.alignment() == 32);
    CHECK(file.size() == data.size());
    CHECK(file.metadata().size() == 14);
    REQUIRE(file.tensors().size() == 2);

    const gguf::tensor& a = file.tensors()[0];
    CHECK(a.name == "a");
    CHECK(a.format.name == "F32");
    CHECK(a.shape.n_dims == 1);
    CHECK(gguf::to_string(a.shape) == "[4]");
    CHECK(a.offset == file.data_offset());
    CHECK(a.data.size() == 16);
    CHECK(a.data[15] == std::byte{15});

    const gguf::tensor& b = file.tensors()[1];
    CHECK(gguf::to_string(b.shape) == "[32, 3]");
    CHECK(b.shape.row_count() == 3);
    CHECK(b.row_bytes() == 18);
    CHECK(b.data.size() == 54);
    CHECK(b.data[0] == std::byte{100});

    CHECK(file.find_tensor("a") == &a);
    CHECK(file.find_tensor("b") == &b);
    CHECK(file.find_tensor("c") == nullptr);
}

TEST_CASE("a moved file keeps what it handed out") {
    const std::vector<std::byte> data = gguf_test::small_file();
    gguf_test::scratch_folder folder;
    gguf_test::write_file(folder.path / "m.gguf", data);
    gguf::file first(folder.path / "m.gguf");
    const std::string_view name = first.tensors()[1].name;
    const std::span<const std::byte> rows = first.tensors()[1].data;
    const gguf::file second = std::move(first);
    CHECK(name == "b");
    CHECK(rows[53] == std::byte{153});
    second.drop(rows);
    CHECK(rows[53] == std::byte{153});
    second.prefetch(rows);
    second.check_unchanged();
}

TEST_CASE("tensors may have gaps, any order, no last padding and dimensions of 0") {
    bytes b;
    b.header(3, 4, 0);
    b.tensor("late", {1}, 0, 96).tensor("early", {1}, 0, 0);
    b.tensor("empty", {32, 0, 4}, 2, 64).tensor("end", {0}, 0, 128).pad().zeros(100);
    const gguf::file file(b.data, "m");
    CHECK(file.tensors()[0].data.size() == 4);
    CHECK(file.tensors()[2].data.empty());
    CHECK(file.tensors()[2].shape.element_count() == 0);
    CHECK(file.tensors()[3].data.empty());
}

TEST_CASE("a file without tensors may end where its data would start") {
    bytes b;
    b.header(3, 0, 1).entry_u32("k", 1);
    const gguf::file file(b.data, "m");
    CHECK(file.tensors().empty());
    CHECK(file.metadata().get<std::uint32_t>("k") == 1);
}

TEST_CASE("tensors are aligned as general.alignment says") {
    bytes b;
    b.header(3, 2, 1).entry_u32("general.alignment", 128);
    b.tensor("a", {1}, 0, 0).tensor("b", {1}, 0, 128).pad(128).zeros(132);
    const gguf::file file(b.data, "m");
    CHECK(file.alignment() == 128);
    CHECK(file.data_offset() == 128);
    CHECK(file.tensors()[1].offset == 256);
}

TEST_CASE("headers that are no GGUF") {
    CHECK(open_error(bytes{}) ==
          "m: byte 0: magic: found the end of the file after 0 bytes, expected 4");
    CHECK(open_error(bytes{}.raw("GGUF\3")) ==
          "m: byte 4: version: found the end of the file after 1 bytes, expected 4");
    CHECK(open_error(bytes{}.raw("ggml").zeros(20)) ==
          R"(m: byte 0: magic: found "ggml", expected "GGUF")");
    CHECK(open_error(bytes{}.raw("\x1B[2J").zeros(20)) ==
          R"(m: byte 0: magic: found "\x1b[2J", expected "GGUF")");
    CHECK(open_error(bytes{}.header(1, 0, 0)) ==
          "m: byte 4: version: found 1, expected 2 or 3");
    CHECK(open_error(bytes{}.header(4, 0, 0)) ==
          "m: byte 4: version: found 4, expected 2 or 3");
    CHECK(open_error(bytes{}.header(0, 0, 0)) ==
          "m: byte 4: version: found 0, expected 2 or 3");
    CHECK(open_error(bytes{}.header(0x03000000, 0, 0)) ==
          "m: byte 4: byte order: found a big-endian file, expected a little-endian one");
}

TEST_CASE("counts that the file cannot hold") {
    CHECK(open_error(bytes{}.header(3, -1, 0)) ==
          "m: byte 8: tensor count: found -1, expected 0 to 0 (each takes 33 bytes or more, the "
          "file has 24)");
    CHECK(open_error(bytes{}.header(3, 2, 0).zeros(33)) ==
          "m: byte 8: tensor count: found 2, expected 0 to 1 (each takes 33 bytes or more, the "
          "file has 57)");
    CHECK(open_error(bytes{}.header(3, 0, INT64_MAX)) ==
          "m: byte 16: metadata count: found 9223372036854775807, expected 0 to 1 (each takes 14 "
          "bytes or more, the file has 24)");
    CHECK(open_error(bytes{}.header(3, 0, INT64_MIN)) ==
          "m: byte 16: metadata count: found -9223372036854775808, expected 0 to 1 (each takes 14 "
          "bytes or more, the file has 24)");
    CHECK(open_error(bytes{}.header(3, 0, 1)) ==
          "m: byte 24: key 0: key: found the end of the file after 0 bytes, expected 8");
}

TEST_CASE("strings and arrays past the end") {
    CHECK(open_error(bytes{}.header(3, 0, 1).u64(100).raw("k")) ==
          "m: byte 24: key 0: key: found a length of 100, expected at most 1 (bytes left in the "
          "file)");
    CHECK(entry_error([](bytes& b) { b.u32(8).u64(~0ull).raw("v"); }) ==
          R"(m: byte 37: key "k": string: found a length of 18446744073709551615, expected at )"
          "most 1 (bytes left in the file)");
    CHECK(entry_error([](bytes& b) { b.u32(10).u32(0); }) ==
          R"(m: byte 37: key "k": value: found the end of the file after 4 bytes, expected 8)");
    CHECK(entry_error([](bytes& b) { b.u32(9).u32(4).u64(3).u64(0); }) ==
          R"(m: byte 41: key "k": array: found 3 elements, expected at most 2 (8 bytes left in )"
          "the file)");
    CHECK(entry_error([](bytes& b) { b.u32(9).u32(10).u64(1ull << 61).u64(0); }) ==
          R"(m: byte 41: key "k": array: found 2305843009213693952 elements, expected at most 1 )"
          "(8 bytes left in the file)");
    CHECK(entry_error([](bytes& b) { b.u32(9).u32(8).u64(1ull << 40).string("s"); }) ==
          R"(m: byte 58: key "k": string in array: found the end of the file after 0 bytes, )"
          "expected 8");
    CHECK(entry_error([](bytes& b) { b.u32(9).u32(8).u64(1).u64(9).raw("s"); }) ==
          R"(m: byte 49: key "k": string in array: found a length of 9, expected at most 1 )"
          "(bytes left in the file)");
}

TEST_CASE("unknown value types and nested arrays") {
    CHECK(entry_error([](bytes& b) { b.u32(13).u64(0); }) ==
          R"(m: byte 33: key "k": value type: found 13, expected 0 to 12)");
    CHECK(entry_error([](bytes& b) { b.u32(0xFFFFFFFF).u64(0); }) ==
          R"(m: byte 33: key "k": value type: found -1, expected 0 to 12)");
    CHECK(entry_error([](bytes& b) { b.u32(9).u32(77).u64(0); }) ==
          R"(m: byte 37: key "k": array element type: found 77, expected 0 to 12)");
    CHECK(entry_error([](bytes& b) { b.u32(9).u32(9).u64(0); }) ==
          R"(m: byte 37: key "k": array element type: found 9 (array), expected another (arrays )"
          "do not nest)");
}

TEST_CASE("keys that are empty, repeated or carry NUL") {
    CHECK(open_error(bytes{}.header(3, 0, 1).entry_u32("", 1)) ==
          "m: byte 24: key 0: key: found an empty one, expected text");
    CHECK(open_error(bytes{}.header(3, 0, 1).entry_u32(std::string_view("a\0b", 3), 1)) ==
          R"(m: byte 24: key 0: key: found "a\x00b", expected text without NUL bytes)");
    CHECK(open_error(bytes{}
                         .header(3, 0, 4)
                         .entry_u32("z", 1)
                         .entry_u32("a", 2)
                         .entry_u32("z", 1)
                         .entry_u32("a", 1)) ==
          R"(m: byte 58: key "z": found the same name before, expected unique names)");
}

TEST_CASE("alignments that are none") {
    const auto alignment_error = [](std::uint32_t alignment) {
        return open_error(bytes{}.header(3, 0, 1).entry_u32("general.alignment", alignment));
    };
    CHECK(alignment_error(0) ==
          R"(m: byte 53: key "general.alignment": found 0, expected a power of two up to )"
          "16777216");
    CHECK(alignment_error(48) ==
          R"(m: byte 53: key "general.alignment": found 48, expected a power of two up to )"
          "16777216");
    CHECK(alignment_error(1u << 31) ==
          R"(m: byte 53: key "general.alignment": found 2147483648, expected a power of two up )"
          "to 16777216");
    CHECK(open_error(bytes{}.header(3, 0, 1).string("general.alignment").u32(10).u64(32)) ==
          R"(m: byte 49: key "general.alignment": value type: found u64, expected u32)");
    CHECK(open_error(bytes{}.header(3, 0, 1).string("general.alignment").u32(8).string("32")) ==
          R"(m: byte 49: key "general.alignment": value type: found string, expected u32)");
}

TEST_CASE("tensor names that are empty, long, repeated or carry NUL") {
    CHECK(tensor_error({{"", {1}, 0, 0}}) ==
          "m: byte 24: tensor 0: name: found an empty one, expected text");
    CHECK(tensor_error({{std::string("a\0", 2), {1}, 0, 0}}) ==
          R"(m: byte 24: tensor 0: name: found "a\x00", expected text without NUL bytes)");
    CHECK(tensor_error({{std::string(64, 'n'), {1}, 0, 0}}) ==
          "m: byte 24: tensor \"" + std::string(64, 'n') +
              "\": name: found 64 bytes, expected at most 63");
    CHECK(tensor_error({{std::string(63, 'n'), {1}, 0, 0}}) == "(no error)");
    CHECK(tensor_error({{"t", {1}, 0, 0}, {"s", {1}, 0, 32}, {"t", {1}, 0, 64}}) ==
          R"(m: byte 90: tensor "t": found the same name before, expected unique names)");
}

TEST_CASE("shapes that are none") {
    CHECK(tensor_error({{"t", {}, 0, 0}}) ==
          R"(m: byte 33: tensor "t": number of dimensions: found 0, expected 1 to 4)");
    CHECK(tensor_error({{"t", {1, 1, 1, 1, 1}, 0, 0}}) ==
          R"(m: byte 33: tensor "t": number of dimensions: found 5, expected 1 to 4)");
    CHECK(tensor_error({{"t", {4, -3}, 0, 0}}) ==
          R"(m: byte 45: tensor "t": dimension: found -3, expected 0 or more)");
    CHECK(tensor_error({{"t", {big, 2, 1}, 0, 0}}) ==
          R"(m: byte 33: tensor "t": shape: found [4611686018427387904, 2, 1], expected at most )"
          "2^63 - 1 elements");
    CHECK(tensor_error({{"t", {0, big, big}, 0, 0}}) ==
          R"(m: byte 33: tensor "t": shape: found [0, 4611686018427387904, 4611686018427387904], )"
          "expected at most 2^63 - 1 elements");
    CHECK(tensor_error({{"t", {big}, 0, 0}}) ==
          R"(m: byte 33: tensor "t": shape: found [4611686018427387904], expected at most 2^63 - )"
          "1 bytes as F32");
    CHECK(tensor_error({{"t", {31, 2}, 2, 0}}) ==
          R"(m: byte 33: tensor "t": row length: found 31, expected a multiple of 32 for Q4_0)");
}

TEST_CASE("tensor types that are unknown or removed") {
    for (const std::uint32_t type : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 43u, 133u})
        CHECK(tensor_error({{"t", {256}, type, 0}}) ==
              R"(m: byte 45: tensor "t": type: found )" + std::to_string(type) +
                  ", which is unknown or removed, expected a GGUF tensor type");
    CHECK(tensor_error({{"t", {256}, 0xFFFFFFFF, 0}}) ==
          R"(m: byte 45: tensor "t": type: found -1, which is unknown or removed, expected a )"
          "GGUF tensor type");
}

TEST_CASE("offsets that are misaligned, overlapping, past the end or wrapping") {
    CHECK(tensor_error({{"t", {1}, 0, 8}}) ==
          R"(m: byte 49: tensor "t": offset: found 8, expected a multiple of the alignment 32)");
    CHECK(tensor_error({{"a", {32}, 0, 0}, {"b", {1}, 0, 96}}) ==
          R"(m: byte 82: tensor "b": offset: found 96, expected at least 128, where the data of )"
          R"(tensor "a" ends)");
    CHECK(tensor_error({{"a", {1}, 0, 32}, {"b", {9}, 0, 0}}) ==
          R"(m: byte 49: tensor "a": offset: found 32, expected at least 36, where the data of )"
          R"(tensor "b" ends)");
    CHECK(tensor_error({{"a", {1}, 0, 32}, {"b", {1}, 0, 32}}) ==
          R"(m: byte 82: tensor "b": offset: found 32, expected at least 36, where the data of )"
          R"(tensor "a" ends)");
    CHECK(tensor_error({{"t", {33}, 0, 0}}) ==
          R"(m: byte 49: tensor "t": data: found 132 bytes at offset 0, expected them within the )"
          "128 bytes of data in the file");
    CHECK(tensor_error({{"t", {1}, 0, 128}}) ==
          R"(m: byte 49: tensor "t": data: found 4 bytes at offset 128, expected them within the )"
          "128 bytes of data in the file");
    CHECK(tensor_error({{"t", {32}, 0, ~0ull - 31}}) ==
          R"(m: byte 49: tensor "t": data: found 128 bytes at offset 18446744073709551584, )"
          "expected them within the 128 bytes of data in the file");
    CHECK(tensor_error({{"t", {0}, 0, 160}}) ==
          R"(m: byte 49: tensor "t": data: found 0 bytes at offset 160, expected them within the )"
          "128 bytes of data in the file");
    CHECK(open_error(bytes{}.header(3, 1, 0).tensor("t", {1}, 0, 0)) ==
          R"(m: byte 49: tensor "t": data: found 4 bytes at offset 0, expected them within the 0 )"
          "bytes of data in the file");
}

TEST_CASE("what is no file") {
    gguf_test::scratch_folder folder;
    const auto path_error = [](const std::filesystem::path& path) {
        return gguf_test::error_of([&] { gguf::file{path}; });
    };
    const std::string absent = (folder.path / "absent").string();
    CHECK(path_error(absent) == absent + ": cannot open: No such file or directory");
    CHECK(path_error(folder.path) == folder.path.string() + ": a folder, expected a file");
    CHECK(path_error("/dev/null") == "/dev/null: not a regular file, expected a file");
    const std::string empty = (folder.path / "empty").string();
    gguf_test::write_file(empty, {});
    CHECK(path_error(empty) ==
          empty + ": byte 0: magic: found the end of the file after 0 bytes, expected 4");
}
