// SPDX-License-Identifier: Apache-2.0
//
// Writing GGUF files: the exact bytes, round trips through the reader, and refusals.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "gguf_bytes.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/gguf/reader.hpp"
#include "qdial/gguf/writer.hpp"

namespace gguf = qdial::gguf;
using gguf_test::bytes;

namespace {

constexpr qdial::format_info f32 = qdial::info_of<qdial::f32>;
constexpr qdial::format_info q4_0 = qdial::info_of<qdial::q4_0>;

/// Writes `data` (one span for each tensor) in pieces of at most `piece` bytes.
std::vector<std::byte> write(const gguf::file_plan& plan,
                             const std::vector<std::span<const std::byte>>& data,
                             std::size_t piece) {
    std::vector<std::byte> out;
    gguf::writer writer(plan, [&](std::span<const std::byte> part) {
        out.insert(out.end(), part.begin(), part.end());
    });
    for (std::span<const std::byte> rest : data) {
        while (!rest.empty()) {
            const std::size_t size = std::min(piece, rest.size());
            writer.append(rest.first(size));
            rest = rest.subspan(size);
        }
    }
    writer.finish();
    CHECK(out.size() == plan.file_bytes());
    return out;
}

std::string plan_error(const gguf::metadata& m, std::vector<gguf::tensor_spec> tensors) {
    return gguf_test::error_of([&] { gguf::file_plan("out", m, std::move(tensors)); });
}

}  // namespace

TEST_CASE("a file that is read and written again keeps every byte") {
    const std::size_t piece = GENERATE(1u, 7u, 1000000u);
    const std::vector<std::byte> data = gguf_test::small_file();
    const gguf::file file(data, "small");
    std::vector<gguf::tensor_spec> specs;
    std::vector<std::span<const std::byte>> rows;
    for (const gguf::tensor& t : file.tensors()) {
        specs.push_back({std::string(t.name), t.shape, t.format});
        rows.push_back(t.data);
    }
    const gguf::file_plan plan("out", file.metadata(), specs);
    CHECK(write(plan, rows, piece) == data);
}

TEST_CASE("the bytes of a file from nothing") {
    gguf::metadata m;
    m.set("general.architecture", "llama");
    m.set("general.file_type", std::uint32_t{2});
    const gguf::file_plan plan("out", m,
                               {{"w", {{32, 2, 1, 1}, 4}, q4_0}, {"s", {{1, 1, 1, 1}, 1}, f32},
                                {"three", {{2, 1, 2, 1}, 3}, f32}});
    CHECK(plan.alignment() == 32);
    const std::vector<std::byte> w(36, std::byte{0xAA});
    const std::vector<std::byte> s(4, std::byte{0xBB});
    const std::vector<std::byte> three(16, std::byte{0xCC});

    bytes expected;
    expected.header(3, 3, 2).string("general.architecture").u32(8).string("llama");
    expected.entry_u32("general.file_type", 2);
    // Trailing dimensions of 1 go, but one dimension stays.
    expected.tensor("w", {32, 2}, 2, 0).tensor("s", {1}, 0, 64);
    expected.tensor("three", {2, 1, 2}, 0, 96).pad();
    const std::size_t start = expected.data.size();
    for (int i = 0; i < 36; ++i) expected.u8(0xAA);
    expected.pad().raw("\xBB\xBB\xBB\xBB").pad();
    for (int i = 0; i < 16; ++i) expected.u8(0xCC);
    expected.pad();
    CHECK(write(plan, {w, s, three}, 5) == expected.data);
    CHECK(plan.tensors()[1].offset == start + 64);
    CHECK(plan.tensors()[2].bytes == 16);
}

TEST_CASE("general.alignment decides the padding, and the reader agrees") {
    gguf::metadata m;
    m.set("general.alignment", std::uint32_t{8192});
    const gguf::file_plan plan("out", m, {{"a", {}, f32}, {"b", {}, f32}});
    const std::vector<std::byte> one(4, std::byte{1});
    const std::vector<std::byte> out = write(plan, {one, one}, 4);
    CHECK(out.size() == 3 * 8192);
    const gguf::file file(out, "out");
    CHECK(file.tensors()[1].offset == 2 * 8192);
    CHECK(file.tensors()[1].data[0] == std::byte{1});
}

TEST_CASE("tensors that hold nothing are passed over") {
    const gguf::tensor_shape none{{0, 5, 1, 1}, 2};
    const gguf::file_plan plan("out", {}, {{"a", none, f32}, {"b", {}, f32}, {"c", none, f32}});
    const std::vector<std::byte> one(4, std::byte{1});
    const std::vector<std::byte> out = write(plan, {one}, 4);
    const gguf::file file(out, "out");
    CHECK(file.tensors()[0].data.empty());
    CHECK(file.tensors()[1].data[3] == std::byte{1});
    CHECK(file.tensors()[2].shape == none);
    CHECK(write(gguf::file_plan("out", {}, {}), {}, 1).size() == 32);
}

TEST_CASE("random files survive the round trip through the reader") {
    std::uint64_t state = 88172645463325252ull;
    const auto below = [&](std::uint64_t n) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (state >> 16) % n;
    };
    std::vector<qdial::format_info> formats;
    qdial::for_each_format(qdial::all_formats{},
                           [&](auto f) { formats.push_back(qdial::info_of<decltype(f)>); });
    for (int round = 0; round < 50; ++round) {
        std::vector<gguf::tensor_spec> specs;
        std::vector<std::vector<std::byte>> data;
        for (std::uint64_t i = 0, n = below(8); i < n; ++i) {
            const qdial::format_info& format = formats[below(formats.size())];
            gguf::tensor_spec t{"t" + std::to_string(i), {}, format};
            t.shape.extent = {below(4) * format.block_length, below(4), 1 + below(2), 1};
            data.emplace_back(gguf::tensor_bytes(t.format, t.shape),
                              static_cast<std::byte>(below(256)));
            specs.push_back(std::move(t));
        }
        gguf::metadata m;
        m.set("general.alignment", std::uint32_t{1} << below(8));
        const std::vector<std::byte> out =
            write(gguf::file_plan("out", m, specs), {data.begin(), data.end()}, 1 + below(100));
        const gguf::file file(out, "out");
        REQUIRE(file.tensors().size() == specs.size());
        for (std::size_t i = 0; i < specs.size(); ++i) {
            const gguf::tensor& t = file.tensors()[i];
            CHECK(t.name == specs[i].name);
            CHECK(t.shape == specs[i].shape);
            CHECK(t.format.gguf_id == specs[i].format.gguf_id);
            CHECK(std::ranges::equal(t.data, data[i]));
        }
    }
}

TEST_CASE("too many or too few bytes are refused") {
    const gguf::file_plan plan("out", {}, {{"a", {}, f32}, {"b", {{2, 1, 1, 1}, 1}, f32}});
    gguf::writer writer(plan, [](std::span<const std::byte>) {});
    const std::vector<std::byte> zeros(16);
    const auto append = [&](std::size_t size) {
        return gguf_test::error_of([&] { writer.append(std::span(zeros).first(size)); });
    };
    CHECK(append(5) == R"(out: tensor "a": found 5 bytes to write, expected 4)");
    CHECK(append(4) == "(no error)");
    CHECK(writer.current() == 1);
    CHECK(append(3) == "(no error)");
    CHECK(append(6) == R"(out: tensor "b": found 6 bytes to write, expected 5)");
    CHECK(gguf_test::error_of([&] { writer.finish(); }) ==
          R"(out: tensor "b": found 3 bytes written, expected 8)");
    CHECK(append(5) == "(no error)");
    CHECK(writer.current() == 2);
    CHECK(append(1) == "out: after the last tensor: found 1 bytes to write, expected 0");
    writer.finish();
}

TEST_CASE("plans that no reader would accept are refused") {
    const gguf::metadata none;
    CHECK(plan_error(none, {{"", {}, f32}}) ==
          R"(out: tensor "": found an empty name, expected text)");
    CHECK(plan_error(none, {{std::string("a\0", 2), {}, f32}}) ==
          R"(out: tensor "a\x00": found a NUL byte in the name, expected text)");
    CHECK(plan_error(none, {{"t", {}, f32}, {"t", {}, f32}}) ==
          R"(out: tensor "t": found twice, expected unique names)");
    CHECK(plan_error(none, {{std::string(64, 'n'), {}, f32}}) ==
          "out: tensor \"" + std::string(64, 'n') +
              "\": found a name of 64 bytes, expected at most 63");
    CHECK(plan_error(none, {{"t", {{33, 1, 1, 1}, 1}, q4_0}}) ==
          R"(out: tensor "t": row length: found 33, expected a multiple of 32 for Q4_0)");
    const std::uint64_t large = std::uint64_t{1} << 60;
    CHECK(plan_error(none, {{"t", {{large, 16, 1, 1}, 2}, f32}}) ==
          R"(out: tensor "t": shape: found [1152921504606846976, 16], expected at most 2^63 - 1 )"
          "elements");
    const gguf::tensor_shape row{{large, 1, 1, 1}, 1};
    CHECK(plan_error(none, {{"t", row, f32}, {"u", row, f32}}) ==
          R"(out: tensor "u": found more than 2^63 - 1 bytes of tensors in the file)");

    gguf::metadata m;
    m.append(gguf::entry::make("k", 1));
    m.append(gguf::entry::make("k", 2));
    CHECK(plan_error(m, {}) == R"(out: key "k": found twice, expected unique names)");
    gguf::metadata odd;
    odd.set("general.alignment", std::uint32_t{24});
    CHECK(plan_error(odd, {}) ==
          R"(out: key "general.alignment": expected a u32 that is a power of two up to 16777216)");
    odd.set("general.alignment", std::uint64_t{32});
    CHECK(plan_error(odd, {}) ==
          R"(out: key "general.alignment": expected a u32 that is a power of two up to 16777216)");
}
