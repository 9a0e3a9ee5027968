// SPDX-License-Identifier: Apache-2.0
//
// Metadata values: typed reading, its errors, and editing.
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"
#include "gguf_bytes.hpp"
#include "qdial/gguf/reader.hpp"

namespace gguf = qdial::gguf;

namespace {

std::vector<std::string> keys(const gguf::metadata& m) {
    std::vector<std::string> out;
    for (const gguf::entry& e : m) out.emplace_back(e.key());
    return out;
}

}  // namespace

TEST_CASE("every type of value is read as what it is") {
    const std::vector<std::byte> data = gguf_test::small_file();
    const gguf::file file(data, "small");
    const gguf::metadata& m = file.metadata();
    CHECK(m.get<std::uint8_t>("u8") == 200);
    CHECK(m.get<std::int8_t>("i8") == -2);
    CHECK(m.get<std::uint16_t>("u16") == 65535);
    CHECK(m.get<std::int16_t>("i16") == -2);
    CHECK(m.get<std::uint32_t>("u32") == 4000000000u);
    CHECK(m.get<std::int32_t>("i32") == -2);
    CHECK(m.get<float>("f32") == 1.5f);
    CHECK(m.get<bool>("bool"));
    CHECK(m.get<std::string_view>("string") == "text");
    CHECK(m.get<std::uint64_t>("u64") == std::numeric_limits<std::uint64_t>::max());
    CHECK(m.get<std::int64_t>("i64") == -2);
    CHECK(m.get<double>("f64") == 2.5);
    CHECK(m.get<std::vector<std::string_view>>("strings") ==
          std::vector<std::string_view>{"x", "", "yz"});
    CHECK(m.get<std::vector<std::string>>("strings").back() == "yz");
    CHECK(m.get<std::vector<std::int64_t>>("numbers") == std::vector<std::int64_t>{7, -1});
    const auto numbers = m.get<gguf::array_view>("numbers");
    CHECK(numbers.element_type() == gguf::value_type::i32);
    CHECK(numbers.size() == 2);
    CHECK(numbers.at<int>(1) == -1);
    CHECK_FALSE(numbers.at<std::uint32_t>(1));
    CHECK(numbers.strings().begin() == numbers.strings().end());
}

TEST_CASE("integers are read as any integer type that holds them") {
    const std::vector<std::byte> data = gguf_test::small_file();
    const gguf::file file(data, "small");
    const gguf::metadata& m = file.metadata();
    CHECK(m.get<std::uint64_t>("u8") == 200);
    CHECK(m.get<int>("u16") == 65535);
    CHECK(m.get<std::int64_t>("i8") == -2);
    CHECK(m.get<double>("f32") == 1.5);
    CHECK(m.get<float>("f64") == 2.5f);
    CHECK(m.find<int>("i32") == -2);
    CHECK_FALSE(m.find<int>("absent"));
    CHECK(m.contains("i32"));
    CHECK_FALSE(m.contains("i3"));
}

TEST_CASE("values of another type give an error that names file, key, found and expected") {
    const std::vector<std::byte> data = gguf_test::small_file();
    const gguf::file file(data, "small");
    const gguf::metadata& m = file.metadata();
    const auto error_of = [](auto&& run) { return gguf_test::error_of(run); };
    CHECK(error_of([&] { return m.get<int>("absent"); }) ==
          R"(small: key "absent": not found, expected i32)");
    CHECK(error_of([&] { return m.get<std::int32_t>("u32"); }) ==
          R"(small: key "u32": found u32 4000000000, expected i32)");
    CHECK(error_of([&] { return m.get<std::uint32_t>("i8"); }) ==
          R"(small: key "i8": found i8 -2, expected u32)");
    CHECK(error_of([&] { return m.find<std::uint32_t>("f32"); }) ==
          R"(small: key "f32": found f32, expected u32)");
    CHECK(error_of([&] { return m.get<std::uint32_t>("bool"); }) ==
          R"(small: key "bool": found bool, expected u32)");
    CHECK(error_of([&] { return m.get<bool>("u8"); }) ==
          R"(small: key "u8": found u8 200, expected bool)");
    CHECK(error_of([&] { return m.get<float>("u8"); }) ==
          R"(small: key "u8": found u8 200, expected f32)");
    CHECK(error_of([&] { return m.get<std::string_view>("strings"); }) ==
          R"(small: key "strings": found array of string, expected string)");
    CHECK(error_of([&] { return m.get<gguf::array_view>("string"); }) ==
          R"(small: key "string": found string, expected an array)");
    CHECK(error_of([&] { return m.get<std::vector<float>>("numbers"); }) ==
          R"(small: key "numbers": found array of i32, expected an array of f32)");
    CHECK(error_of([&] { return m.get<std::vector<std::string>>("numbers"); }) ==
          R"(small: key "numbers": found array of i32, expected an array of string)");
    CHECK(error_of([] { return gguf::metadata{}.get<bool>("x"); }) ==
          R"(key "x": not found, expected bool)");
}

TEST_CASE("visit gives every value in its stored type") {
    const std::vector<std::byte> data = gguf_test::small_file();
    const gguf::file file(data, "small");
    std::string sizes;
    for (const gguf::entry& e : file.metadata())
        e.value().visit([&](auto value) { sizes += std::to_string(sizeof value) + " "; });
    const std::string text = std::to_string(sizeof(std::string_view)) + " ";
    const std::string array = std::to_string(sizeof(gguf::array_view)) + " ";
    CHECK(sizes == "1 1 2 2 4 4 4 1 " + text + array + "8 8 8 " + array);
}

TEST_CASE("what is set is read back, with the bytes that a file holds") {
    gguf::metadata m;
    m.set("u32", std::uint32_t{7});
    m.set("text", "abc");
    m.set("flag", true);
    m.set("f", 0.5f);
    m.set("list", std::vector<std::uint16_t>{1, 2});
    m.set("names", std::vector<std::string>{"p", "q"});
    CHECK(m.get<std::uint32_t>("u32") == 7);
    CHECK(m.get<std::string_view>("text") == "abc");
    CHECK(m.get<bool>("flag"));
    CHECK(m.get<float>("f") == 0.5f);
    CHECK(m.get<std::vector<int>>("list") == std::vector<int>{1, 2});
    CHECK(m.get<std::vector<std::string>>("names") == std::vector<std::string>{"p", "q"});

    gguf_test::bytes expected;
    expected.string("list").u32(9).u32(2).u64(2).u16(1).u16(2);
    expected.string("names").u32(9).u32(8).u64(2).string("p").string("q");
    std::vector<std::byte> found;
    for (const gguf::entry& e : m)
        if (e.key() == "list" || e.key() == "names")
            found.insert(found.end(), e.encoded().begin(), e.encoded().end());
    CHECK(found == expected.data);
}

TEST_CASE("setting a key moves it to the end, copies do not see it") {
    gguf::metadata m;
    m.set("a", 1);
    m.set("b", 2);
    m.set("c", 3);
    const gguf::metadata before = m;
    m.set((*m.begin()).key(), 4);
    m.erase("b");
    m.erase("absent");
    CHECK(keys(m) == std::vector<std::string>{"c", "a"});
    CHECK(m.get<int>("a") == 4);
    CHECK(keys(before) == std::vector<std::string>{"a", "b", "c"});
    CHECK(before.get<int>("a") == 1);
}
