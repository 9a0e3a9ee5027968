// SPDX-License-Identifier: Apache-2.0
//
// Importance matrices in both forms, made here, and one that llama-imatrix made.
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "qdial/gguf/writer.hpp"
#include "qdial/model/imatrix.hpp"

namespace {

namespace gguf = qdial::gguf;
namespace model = qdial::model;
using Catch::Contains;
using model::importance_matrix;
using model::tensor_shape;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

using bytes = std::vector<std::byte>;

template <class T>
void put(bytes& out, const T& value) {
    const auto* from = reinterpret_cast<const std::byte*>(&value);
    out.insert(out.end(), from, from + sizeof value);
}

void put_text(bytes& out, const std::string& text) {
    put(out, static_cast<std::int32_t>(text.size()));
    for (const char c : text) put(out, c);
}

struct legacy_entry {
    std::string name;
    std::int32_t calls;
    std::vector<float> values;
};

bytes legacy_file(const std::vector<legacy_entry>& entries) {
    bytes out;
    put(out, static_cast<std::int32_t>(entries.size()));
    for (const legacy_entry& entry : entries) {
        put_text(out, entry.name);
        put(out, entry.calls);
        put(out, static_cast<std::int32_t>(entry.values.size()));
        for (const float value : entry.values) put(out, value);
    }
    return out;
}

struct gguf_tensor {
    std::string name;
    std::vector<float> values;
    std::uint64_t matrices = 1;
    qdial::format_info format = qdial::info_of<qdial::f32>;
};

gguf::metadata imatrix_metadata() {
    gguf::metadata metadata;
    metadata.set("general.type", "imatrix");
    metadata.set("imatrix.datasets", std::vector<std::string>{"first.txt", "second.txt"});
    metadata.set("imatrix.chunk_count", std::uint32_t{7});
    metadata.set("imatrix.chunk_size", std::uint32_t{512});
    return metadata;
}

bytes gguf_file(const std::vector<gguf_tensor>& tensors,
                const gguf::metadata& metadata = imatrix_metadata()) {
    std::vector<gguf::tensor_spec> specs;
    for (const gguf_tensor& tensor : tensors) {
        gguf::tensor_shape shape;
        shape.extent = {tensor.values.size() / tensor.matrices, tensor.matrices, 1, 1};
        shape.n_dims = 2;
        specs.push_back({tensor.name, shape, tensor.format});
    }
    const gguf::file_plan plan("made.gguf", metadata, std::move(specs));
    bytes out;
    gguf::writer writer(plan, [&](std::span<const std::byte> part) {
        out.insert(out.end(), part.begin(), part.end());
    });
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        writer.append(std::as_bytes(std::span(tensors[i].values))
                          .first(static_cast<std::size_t>(plan.tensors()[i].bytes)));
    }
    writer.finish();
    return out;
}

importance_matrix read(const bytes& file) { return importance_matrix(file, "made"); }

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

tensor_shape weight(std::string name, std::uint64_t row_length, std::uint64_t matrices = 1) {
    return {std::move(name), {row_length, 8, matrices, 1}, qdial::f16::gguf_id};
}

std::string message_of(const bytes& file) {
    try {
        (void)read(file);
    } catch (const qdial::error& problem) {
        return problem.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("GGUF: sums over counts, expert by expert") {
    const importance_matrix matrix = read(gguf_file({
        {"blk.0.a.weight.in_sum2", {3, 6, 1}},
        {"blk.0.a.weight.counts", {3}},
        {"blk.0.b.weight.in_sum2", {2, 4, 6, 8, 5, 7}, 3},
        {"blk.0.b.weight.counts", {2, 0, -1}, 3},
        {"blk.0.c.weight.in_sum2", {2, 4, 6, 8}, 2},
        {"blk.0.c.weight.counts", {4}},  // one for all matrices
        {"blk.0.d.weight.something_else", {1}},
    }));
    CHECK(matrix.size() == 3);
    CHECK(matrix.file() == "made");
    CHECK(matrix.datasets() == std::vector<std::string>{"first.txt", "second.txt"});
    CHECK(matrix.chunk_count() == 7);
    CHECK(copy(matrix.find(weight("blk.0.a.weight", 3))) ==
          std::vector<float>{1.0F, 2.0F, 1.0F / 3.0F});

    const tensor_shape experts = weight("blk.0.b.weight", 2, 3);
    CHECK(copy(matrix.find(experts)) == std::vector<float>{1, 2, 1, 1, 1, 1});
    CHECK(copy(matrix.find(experts, 0)) == std::vector<float>{1, 2});
    CHECK(copy(matrix.find(experts, 2)) == std::vector<float>{1, 1});
    CHECK(copy(matrix.find(weight("blk.0.c.weight", 2, 2), 1)) == std::vector<float>{1.5F, 2.0F});

    CHECK(matrix.find(weight("blk.0.d.weight", 1)).empty());
    CHECK(matrix.find(weight("blk.0.d.weight", 1), 5).empty());
}

TEST_CASE("legacy: values over calls") {
    bytes file = legacy_file({{"blk.0.a.weight", 4, {4, 2, 1}},
                              {"blk.0.b.weight", 0, {4, 2}},
                              {"blk.1.a.weight", 3, {1, 2, 3, 6}}});
    const importance_matrix without_trailer = read(file);
    CHECK(without_trailer.size() == 3);
    CHECK(without_trailer.datasets().empty());
    CHECK(without_trailer.chunk_count() == 0);
    put(file, std::int32_t{99});
    put_text(file, "wiki.txt");
    const importance_matrix matrix = read(file);
    CHECK(matrix.datasets() == std::vector<std::string>{"wiki.txt"});
    CHECK(matrix.chunk_count() == 99);
    CHECK(copy(matrix.find(weight("blk.0.a.weight", 3))) == std::vector<float>{1, 0.5F, 0.25F});
    CHECK(copy(matrix.find(weight("blk.0.b.weight", 2))) == std::vector<float>{4, 2});
    CHECK(copy(matrix.find(weight("blk.1.a.weight", 2, 2), 1)) == std::vector<float>{1, 2});
}

TEST_CASE("entries of the wrong size are refused where they are used") {
    const importance_matrix matrix =
        read(legacy_file({{"blk.0.a.weight", 1, {4, 2, 1}}, {"token_embd.weight", 1, {1, 2}}}));
    CHECK_THROWS_WITH(matrix.find(weight("blk.0.a.weight", 4)),
                      Contains("made") && Contains("\"blk.0.a.weight\"") && Contains("found 3") &&
                          Contains("expected 4"));
    CHECK_THROWS_AS(matrix.find(weight("blk.0.a.weight", 3, 2), 1), qdial::error);
    CHECK(matrix.find(weight("token_embd.weight", 3)).empty());
    CHECK(matrix.find(weight("token_embd.weight", 2)).size() == 2);
}

TEST_CASE("numbers that are not finite are refused by name") {
    for (const float bad : {infinity, -infinity, not_a_number}) {
        CAPTURE(bad);
        CHECK_THAT(message_of(legacy_file({{"blk.0.a.weight", 1, {1, bad}}})),
                   Contains("\"blk.0.a.weight\"") && Contains("value 1: found"));
        CHECK_THAT(message_of(gguf_file(
                       {{"blk.0.a.weight.in_sum2", {1, 1, bad}}, {"blk.0.a.weight.counts", {3}}})),
                   Contains("\"blk.0.a.weight\"") && Contains("sum 2: found"));
        CHECK_THAT(message_of(gguf_file({{"blk.0.a.weight.in_sum2", {1, 1}, 2},
                                         {"blk.0.a.weight.counts", {3, bad}, 2}})),
                   Contains("\"blk.0.a.weight\"") && Contains("count 1: found"));
    }
}

TEST_CASE("GGUF files that are not importance matrices") {
    const std::vector<gguf_tensor> good{{"a.weight.in_sum2", {1}}, {"a.weight.counts", {1}}};
    for (const std::string key :
         {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
        gguf::metadata metadata = imatrix_metadata();
        metadata.erase(key);
        CHECK_THAT(message_of(gguf_file(good, metadata)), Contains("\"" + key + "\""));
    }
    CHECK_THAT(message_of(gguf_file({})), Contains("no importance values"));
    CHECK_THAT(message_of(gguf_file({good[0]})),
               Contains("\"a.weight\"") && Contains("expected .counts too"));
    CHECK_THAT(message_of(gguf_file({good[1]})),
               Contains("\"a.weight\"") && Contains("expected .in_sum2 too"));
    CHECK_THAT(
        message_of(gguf_file({{"a.weight.in_sum2", {1, 2, 3}}, {"a.weight.counts", {1, 1}}})),
        Contains("\"a.weight\"") && Contains("3 sums and 2 counts"));
    CHECK_THAT(message_of(gguf_file({{"a.weight.in_sum2", {}}, {"a.weight.counts", {1}}})),
               Contains("\"a.weight\"") && Contains("0 sums"));
    CHECK_THAT(message_of(gguf_file({{"a.weight.in_sum2", {1}}, {"a.weight.counts", {}}})),
               Contains("\"a.weight\"") && Contains("0 counts"));
    CHECK_THAT(message_of(gguf_file({{"a.weight.in_sum2", {1}, 1, qdial::info_of<qdial::f16>},
                                     {"a.weight.counts", {1}}})),
               Contains("\"a.weight\"") && Contains("F16, expected F32"));
    bytes cut = gguf_file(good);
    cut.resize(40);
    CHECK_THAT(message_of(cut), Contains("made") && Contains("byte"));
}

TEST_CASE("legacy files that are damaged") {
    const std::vector<legacy_entry> good{{"blk.0.a.weight", 4, {4, 2, 1}}, {"b", 1, {1}}};
    bytes whole = legacy_file(good);
    const std::size_t without_trailer = whole.size();
    put(whole, std::int32_t{1});
    put_text(whole, "x");
    // Cut anywhere, it is an error, except where the trailer may be missing.
    for (std::size_t size = 0; size < whole.size(); ++size) {
        CAPTURE(size);
        const bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        CHECK((message_of(cut) == "no error") == (size == without_trailer));
    }
    bytes longer = whole;
    longer.push_back(std::byte{0});
    CHECK_THAT(message_of(longer), Contains("1 more bytes"));

    const auto with_number = [&](std::size_t at, std::int32_t value) {
        bytes changed = whole;
        std::memcpy(changed.data() + at, &value, sizeof value);
        return message_of(changed);
    };
    constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
    constexpr std::size_t name_at = 4, size_at = 4 + 4 + 14 + 4;
    for (const std::int32_t count : {0, -1, most, 3}) {
        CAPTURE(count);
        CHECK_THAT(with_number(0, count), Contains("made: byte"));
    }
    CHECK_THAT(with_number(0, 0), Contains("neither GGUF nor"));
    CHECK_THAT(with_number(name_at, -1), Contains("name: found a length of -1"));
    CHECK_THAT(with_number(name_at, most), Contains("name: found a length of 2147483647"));
    CHECK_THAT(with_number(size_at, 0), Contains("\"blk.0.a.weight\"") && Contains("found 0"));
    CHECK_THAT(with_number(size_at, -5), Contains("\"blk.0.a.weight\"") && Contains("found -5"));
    CHECK_THAT(with_number(size_at, most), Contains("\"blk.0.a.weight\"") && Contains("elements"));
    CHECK_THAT(message_of(legacy_file({{"a", 1, {1}}, {"a", 1, {1}}})),
               Contains("\"a\"") && Contains("second"));
}

TEST_CASE("metadata of the quantized model") {
    bytes file = legacy_file({{"a", 1, {1}}, {"b", 1, {1}}});
    gguf::metadata plain;
    plain.set("quantize.imatrix.file", "an older one");
    plain.set("last", std::uint32_t{1});
    read(file).describe_in(plain);
    std::vector<std::string> keys;
    for (const auto& entry : plain) keys.emplace_back(entry.key());
    CHECK(keys == std::vector<std::string>{"last", "quantize.imatrix.file",
                                           "quantize.imatrix.entries_count"});
    CHECK(plain.get<std::uint32_t>("quantize.imatrix.entries_count") == 2);

    put(file, std::int32_t{12});
    put_text(file, std::string(200, 'd'));
    gguf::metadata full;
    importance_matrix(file, std::string(300, 'f')).describe_in(full);
    keys.clear();
    for (const auto& entry : full) keys.emplace_back(entry.key());
    CHECK(keys == std::vector<std::string>{"quantize.imatrix.file", "quantize.imatrix.dataset",
                                           "quantize.imatrix.entries_count",
                                           "quantize.imatrix.chunks_count"});
    CHECK(full.get<std::string_view>("quantize.imatrix.file") == std::string(127, 'f'));
    CHECK(full.get<std::string_view>("quantize.imatrix.dataset") == std::string(127, 'd'));
    CHECK(full.get<std::uint32_t>("quantize.imatrix.chunks_count") == 12);
}

TEST_CASE("an importance matrix collected here") {
    model::importance_collector collector;
    CHECK_THROWS_WITH(collector.to_gguf("made", {"text"}, 1, 512), Contains("no matrix"));
    collector.add("blk.1.b.weight", std::vector<float>{1, 2, 3, 4}, 2, 2);
    collector.add("blk.0.a.weight", std::vector<float>{3, 0, 1}, 1, 3);
    collector.add("blk.1.b.weight", std::vector<float>{-1, 0}, 1, 2);
    CHECK(collector.size() == 2);
    const bytes file = collector.to_gguf("made", {"text", "more"}, 7, 512);
    const importance_matrix matrix = read(file);
    CHECK(matrix.size() == 2);
    CHECK(matrix.chunk_count() == 7);
    CHECK(matrix.datasets() == std::vector<std::string>{"text", "more"});
    const auto a = matrix.find(weight("blk.0.a.weight", 3));
    CHECK(std::vector<float>(a.begin(), a.end()) == std::vector<float>{9, 0, 1});
    const auto b = matrix.find(weight("blk.1.b.weight", 2));
    CHECK(std::vector<float>(b.begin(), b.end()) == std::vector<float>{11.0F / 3, 20.0F / 3});
    // In llama-imatrix's order.
    const gguf::file parsed(file, "made");
    std::vector<std::string> names;
    for (const gguf::tensor& tensor : parsed.tensors()) names.emplace_back(tensor.name);
    CHECK(names == std::vector<std::string>{"blk.0.a.weight.in_sum2", "blk.0.a.weight.counts",
                                            "blk.1.b.weight.in_sum2", "blk.1.b.weight.counts"});
    CHECK_THROWS_WITH(collector.add("blk.0.a.weight", std::vector<float>{1, 2}, 1, 2),
                      Contains("\"blk.0.a.weight\"") && Contains("expected 3"));
    CHECK_THROWS_WITH(collector.add("blk.0.a.weight", std::vector<float>{1, infinity, 0}, 1, 3),
                      Contains("not finite"));
}

TEST_CASE("a real importance matrix") {
    const importance_matrix matrix(
        std::filesystem::path(QDIAL_TEST_DATA_DIR "/models/gemma.imatrix.gguf"));
    CHECK(matrix.size() == 126);  // 7 matrices in each of 18 layers
    CHECK(matrix.datasets() == std::vector<std::string>{"jargon.txt"});
    CHECK(matrix.chunk_count() == 16);
    const auto values = matrix.find(weight("blk.0.attn_k.weight", 640));
    REQUIRE(values.size() == 640);
    CHECK(values[0] == 928080.6875F / 8192.0F);
    CHECK(values[1] == 2205929.0F / 8192.0F);
    CHECK(matrix.find(weight("blk.17.ffn_down.weight", 2048)).size() == 2048);
    CHECK(matrix.find(weight("token_embd.weight", 640)).empty());
    CHECK_THROWS_WITH(importance_matrix(std::filesystem::path("no/such/file")),
                      Contains("no/such/file"));
}
