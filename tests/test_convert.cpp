// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <limits>
#include <thread>

#include "catch.hpp"
#include "model_files.hpp"
#include "qdial/model/compare.hpp"
#include "qdial/model/convert.hpp"

namespace gguf = qdial::gguf;
namespace model = qdial::model;
using Catch::Matchers::Contains;
using gguf_test::error_of;
using gguf_test::scratch_folder;
using model_test::make_tensor;
using model_test::weights;

namespace {

constexpr std::uint32_t F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 8, Q4_K = 12, Q6_K = 14, IQ4_XS = 23;

gguf::metadata llama_metadata(std::uint32_t blocks = 2) {
    gguf::metadata metadata;
    metadata.set("general.architecture", std::string_view("llama"));
    metadata.set("general.file_type", std::uint32_t{1});
    metadata.set("llama.block_count", blocks);
    metadata.set("llama.attention.head_count", std::uint32_t{8});
    metadata.set("user.own", std::string_view("kept"));
    return metadata;
}

/// Names out of order, a vector, a matrix with odd rows, and a stack of matrices.
std::vector<model_test::tensor> llama_tensors() {
    return {
        make_tensor("blk.1.ffn_down.weight", {512, 70}, F16, weights(512 * 70, 1)),
        make_tensor("token_embd.weight", {256, 300}, F16, weights(256 * 300, 2)),
        make_tensor("blk.0.attn_norm.weight", {256}, F32, weights(256, 3)),
        make_tensor("blk.0.attn_q.weight", {96, 40}, F16, weights(96 * 40, 4)),
        make_tensor("blk.0.ffn_down_exps.weight", {256, 8, 5}, F32, weights(256 * 8 * 5, 5)),
        make_tensor("output.weight", {256, 300}, F16, weights(256 * 300, 6)),
    };
}

std::vector<std::byte> converted(const model::conversion& job) {
    std::vector<std::byte> bytes;
    model::convert(job, [&](std::span<const std::byte> piece) {
        bytes.insert(bytes.end(), piece.begin(), piece.end());
    });
    return bytes;
}

/// Runs the last task first.
struct backwards {
    template <class Task>
    void operator()(std::size_t n, Task&& task) const {
        while (n-- > 0) task(n);
    }
};

/// A thread for every task.
struct all_at_once {
    template <class Task>
    void operator()(std::size_t n, Task&& task) const {
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < n; ++i) threads.emplace_back([&task, i] { task(i); });
    }
};

}  // namespace

TEST_CASE("A converted file holds every tensor in its format, in llama-quantize's order") {
    const scratch_folder folder;
    model_test::write_model(folder.path / "in.gguf", llama_metadata(), llama_tensors());
    const model::model_source source(folder.path / "in.gguf");
    const model::conversion job(source, "out.gguf", model::get_recipe("Q4_K_M"));
    const auto bytes = converted(job);
    CHECK(bytes.size() == job.layout().file_bytes());

    const gguf::file out(bytes, "out.gguf");
    std::vector<std::string> names;
    for (const auto& t : out.tensors())
        names.push_back(std::string(t.name) + " " + std::string(t.format.name));
    CHECK(names == std::vector<std::string>{
                       "output.weight Q6_K", "token_embd.weight Q4_K", "blk.0.attn_norm.weight F32",
                       "blk.0.attn_q.weight Q5_0", "blk.0.ffn_down_exps.weight Q4_K",
                       "blk.1.ffn_down.weight Q6_K"});
    CHECK(job.plan().fallbacks == 1);

    // Each tensor is what its rows are on their own.
    for (const auto& t : out.tensors()) {
        const gguf::tensor& from = *source.files()[0].find_tensor(t.name);
        if (t.format.gguf_id == from.format.gguf_id) {
            CHECK(std::ranges::equal(t.data, from.data));
            continue;
        }
        std::vector<float> floats(static_cast<std::size_t>(t.shape.element_count()));
        model::decode(from.format.gguf_id, from.data, floats);
        std::vector<std::byte> expected(t.data.size());
        model::encode(t.format.gguf_id, floats, static_cast<std::size_t>(t.shape[0]), {}, expected);
        CHECK(std::ranges::equal(t.data, expected));
    }
}

TEST_CASE("Metadata: kept in order, file type and version at the end, nothing of shards") {
    const scratch_folder folder;
    gguf::metadata metadata = llama_metadata();
    metadata.set("split.count", std::uint16_t{1});
    model_test::write_model(folder.path / "in.gguf", metadata, llama_tensors());
    const model::model_source source(folder.path / "in.gguf");
    const auto bytes = converted({source, "out.gguf", model::get_recipe("Q6_K")});
    std::vector<std::string> keys;
    const gguf::file out(bytes, "out.gguf");
    for (const gguf::entry& entry : out.metadata()) keys.emplace_back(entry.key());
    CHECK(keys == std::vector<std::string>{"general.architecture", "llama.block_count",
                                           "llama.attention.head_count", "user.own",
                                           "general.quantization_version", "general.file_type"});
    CHECK(out.metadata().get<std::uint32_t>("general.quantization_version") == 2);
    CHECK(out.metadata().get<std::uint32_t>("general.file_type") == 18);
}

TEST_CASE("The bytes do not depend on the executor") {
    const scratch_folder folder;
    auto tensors = llama_tensors();
    // More than one batch, so that writing and encoding overlap.
    tensors.push_back(make_tensor("blk.1.ffn_up.weight", {4096, 2300}, F16,
                                  weights(std::size_t{4096} * 2300, 7)));
    model_test::write_model(folder.path / "in.gguf", llama_metadata(), tensors);
    const model::model_source source(folder.path / "in.gguf");
    const model::conversion job(source, "out.gguf", model::get_recipe("Q4_0"));
    const auto expected = converted(job);
    const auto run = [&](auto executor) {
        std::vector<std::byte> bytes;
        std::uint64_t last = 0, total = 0;
        model::convert(
            job,
            [&](std::span<const std::byte> piece) {
                bytes.insert(bytes.end(), piece.begin(), piece.end());
            },
            executor,
            [&](const model::conversion_progress& state) {
                CHECK(state.done >= last);
                last = state.done;
                total = state.total;
            });
        CHECK(last == total);
        return bytes;
    };
    CHECK(run(backwards{}) == expected);
    CHECK(run(all_at_once{}) == expected);
}

TEST_CASE("Rows longer than a tile give the same bytes, cut or whole") {
    const scratch_folder folder;
    const std::size_t row = 2 * model::tile_elements + 512;
    const auto values = weights(2 * row, 8);
    model_test::write_model(folder.path / "in.gguf", llama_metadata(),
                            {make_tensor("blk.0.ffn_up.weight", {row, 2}, F32, values)});
    const model::model_source source(folder.path / "in.gguf");
    const std::vector<float> importance = [&] {
        std::vector<float> out = weights(row, 9);
        for (float& x : out) x = x * x + 0.1f;
        return out;
    }();
    gguf_test::bytes dat;  // the older form: one entry, called once
    dat.u32(1).u32(19).raw("blk.0.ffn_up.weight").u32(1).u32(static_cast<std::uint32_t>(row));
    for (const float x : importance) dat.u32(std::bit_cast<std::uint32_t>(x));
    const model::importance_matrix matrix(dat.data, "x.dat");

    for (const std::string_view recipe : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K_M", "Q2_K"}) {
        for (const bool weighted : {false, true}) {
            const model::conversion job(source, "out.gguf", model::get_recipe(recipe), {},
                                        weighted ? &matrix : nullptr);
            const auto bytes = converted(job);
            const gguf::file out(bytes, "out.gguf");
            const gguf::tensor& t = out.tensors()[0];
            std::vector<std::byte> expected(t.data.size());
            model::encode(t.format.gguf_id, values, row,
                          weighted ? std::span<const float>(importance) : std::span<const float>(),
                          expected);
            INFO(recipe << " " << weighted);
            CHECK(std::ranges::equal(t.data, expected));
        }
    }
}

TEST_CASE("Every expert has importance of its own") {
    const scratch_folder folder;
    const auto values = weights(256 * 4 * 2, 10);
    model_test::write_model(folder.path / "in.gguf", llama_metadata(),
                            {make_tensor("blk.0.ffn_up_exps.weight", {256, 4, 2}, F32, values)});
    const model::model_source source(folder.path / "in.gguf");
    gguf_test::bytes dat;
    dat.u32(1).u32(24).raw("blk.0.ffn_up_exps.weight").u32(1).u32(512);
    for (std::uint32_t i = 0; i < 512; ++i)
        dat.u32(std::bit_cast<std::uint32_t>(static_cast<float>(i < 256 ? i + 1 : 600 - i)));
    const model::importance_matrix matrix(dat.data, "x.dat");
    const model::conversion job(source, "out.gguf", model::get_recipe("Q4_K_S"), {}, &matrix);
    const auto bytes = converted(job);
    const gguf::file out(bytes, "out.gguf");
    const auto data = out.tensors()[0].data;
    for (std::size_t expert = 0; expert < 2; ++expert) {
        std::vector<std::byte> expected(data.size() / 2);
        model::encode(Q4_K, std::span(values).subspan(expert * 1024, 1024), 256,
                      matrix.find(source.shapes()[0], expert), expected);
        CHECK(
            std::ranges::equal(data.subspan(expert * expected.size(), expected.size()), expected));
    }
    CHECK(out.metadata().get<std::string_view>("quantize.imatrix.file") == "x.dat");
}

TEST_CASE("NaN, infinities and weights that are too large are errors with a place") {
    const scratch_folder folder;
    const auto message = [&](const std::string& name, std::vector<std::uint64_t> dims, float bad,
                             std::string_view recipe) {
        const auto elements = static_cast<std::size_t>(dims[0] * (dims.size() > 1 ? dims[1] : 1));
        auto values = weights(elements, 11);
        values[elements - 200] = bad;
        model_test::write_model(folder.path / "in.gguf", llama_metadata(),
                                {make_tensor(name, std::move(dims), F32, values)});
        const model::model_source source(folder.path / "in.gguf");
        return error_of([&] { converted({source, "out.gguf", model::get_recipe(recipe)}); });
    };
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    CHECK_THAT(message("blk.0.ffn_up.weight", {256, 1000}, nan, "Q4_K_M"),
               Contains("in.gguf: tensor \"blk.0.ffn_up.weight\": row 999, column 56 ") &&
                   Contains("found NaN"));
    CHECK_THAT(message("blk.0.ffn_up.weight", {512, 3}, -infinity, "F16"),
               Contains("row 2, column 312 ") && Contains("found an infinity"));
    CHECK_THAT(message("blk.0.attn_norm.weight", {256}, nan, "Q8_0"),  // copied, but looked at
               Contains("\"blk.0.attn_norm.weight\": row 0, column 56 "));
    CHECK_THAT(message("blk.0.ffn_up.weight", {256, 4}, 70000.0f, "F16"),
               Contains("row 3, column 56 ") && Contains("found 70000") && Contains("F16"));
    CHECK_THAT(message("blk.0.ffn_up.weight", {256, 4}, 1e9f, "Q4_0"),
               Contains("found 1000000000"));
    CHECK(message("blk.0.ffn_up.weight", {256, 4}, 70000.0f, "Q4_0") == "(no error)");
    CHECK(message("blk.0.ffn_up.weight", {256, 4}, 3e38f, "BF16") == "(no error)");
}

TEST_CASE("Sources that are quantized already") {
    const scratch_folder folder;
    const auto values = weights(256 * 8, 12);
    model_test::write_model(folder.path / "in.gguf", llama_metadata(),
                            {make_tensor("blk.0.ffn_up.weight", {256, 8}, Q8_0, values),
                             make_tensor("blk.0.ffn_gate.weight", {256, 8}, IQ4_XS, values)});
    const model::model_source source(folder.path / "in.gguf");
    const auto job = [&](std::string_view recipe, model::plan_options options = {}) {
        return error_of([&] {
            converted({source, "out.gguf", model::get_recipe(recipe), std::move(options)});
        });
    };
    CHECK_THAT(job("F16"), Contains("ffn_gate") && Contains("IQ4_XS cannot be decoded"));

    model_test::write_model(folder.path / "q8.gguf", llama_metadata(),
                            {make_tensor("blk.0.ffn_up.weight", {256, 8}, Q8_0, values)});
    const model::model_source q8(folder.path / "q8.gguf");
    const auto to = [&](std::string_view recipe, model::plan_options options) {
        return converted({q8, "out.gguf", model::get_recipe(recipe), std::move(options)});
    };
    CHECK_THAT(error_of([&] { to("Q4_K_M", {}); }), Contains("already quantized (Q8_0)"));
    for (const std::string_view recipe : {"F32", "F16", "BF16", "Q8_0"}) to(recipe, {});
    model::plan_options allowed;
    allowed.allow_requantize = true;
    const auto bytes = to("Q4_K_M", allowed);
    CHECK(gguf::file(bytes, "out").tensors()[0].format.gguf_id == Q4_K);
    // The same type is a copy, bit for bit.
    const auto same = to("Q8_0", {});
    CHECK(std::ranges::equal(gguf::file(same, "out").tensors()[0].data,
                             q8.tensors()[0].tensor->data));
}

TEST_CASE("Data that is not aligned to its blocks is read all the same") {
    const scratch_folder folder;
    gguf::metadata metadata = llama_metadata();
    metadata.set("general.alignment", std::uint32_t{1});
    const auto values = weights(256 * 4, 13);
    std::vector<model_test::tensor> tensors{
        make_tensor("a", {1}, 24, {}),  // one byte of I8 in front of everything
        make_tensor("blk.0.ffn_up.weight", {256, 4}, F32, values),
        make_tensor("blk.0.ffn_down.weight", {256, 4}, Q6_K, values)};
    for (std::size_t more = 0; more < 4; ++more) {
        tensors[0].shape.extent[0] = more + 1;
        tensors[0].data.resize(more + 1);
        model_test::write_model(folder.path / "in.gguf", metadata, tensors);
        const model::model_source source(folder.path / "in.gguf");
        const auto bytes = converted({source, "out.gguf", model::get_recipe("F16")});
        const gguf::file out(bytes, "out.gguf");
        std::vector<std::byte> expected(2 * values.size());
        model::encode(F16, values, 256, {}, expected);
        CHECK(std::ranges::equal(out.find_tensor("blk.0.ffn_up.weight")->data, expected));
    }
}

TEST_CASE("An importance matrix of another model is refused") {
    const scratch_folder folder;
    model_test::write_model(folder.path / "in.gguf", llama_metadata(), llama_tensors());
    const model::model_source source(folder.path / "in.gguf");
    gguf_test::bytes dat;
    dat.u32(1).u32(5).raw("other").u32(1).u32(1).u32(0x3F800000);
    const model::importance_matrix matrix(dat.data, "x.dat");
    CHECK_THAT(error_of([&] {
                   const model::conversion job(source, "out.gguf", model::get_recipe("Q4_K_M"), {},
                                               &matrix);
               }),
               Contains("x.dat") && Contains("none of the tensors"));
}

TEST_CASE("What the sink throws ends the conversion") {
    const scratch_folder folder;
    model_test::write_model(folder.path / "in.gguf", llama_metadata(), llama_tensors());
    const model::model_source source(folder.path / "in.gguf");
    const model::conversion job(source, "out.gguf", model::get_recipe("Q4_0"));
    std::size_t calls = 0;
    CHECK(error_of([&] {
              model::convert(job, [&](std::span<const std::byte>) {
                  if (++calls == 3) throw qdial::error("disk full");
              });
          }) == "disk full");
}

TEST_CASE("Shards are one model") {
    const scratch_folder folder;
    const auto tensors = llama_tensors();
    model_test::write_model(folder.path / "whole.gguf", llama_metadata(), tensors);
    const auto write_shard = [&](std::uint16_t index, std::vector<model_test::tensor> part,
                                 std::int32_t total = 6) {
        gguf::metadata metadata = index == 0 ? llama_metadata() : gguf::metadata();
        metadata.set("split.no", index);
        metadata.set("split.count", std::uint16_t{2});
        metadata.set("split.tensors.count", total);
        model_test::write_model(
            folder.path / ("m-0000" + std::to_string(index + 1) + "-of-00002.gguf"), metadata,
            part);
    };
    write_shard(0, {tensors.begin(), tensors.begin() + 2});
    write_shard(1, {tensors.begin() + 2, tensors.end()});
    const auto first = folder.path / "m-00001-of-00002.gguf";
    const auto open = [](const std::filesystem::path& path) {
        return error_of([&] { const model::model_source source(path); });
    };
    {
        const model::model_source whole(folder.path / "whole.gguf"), shards(first);
        CHECK(shards.files().size() == 2);
        CHECK(converted({shards, "out.gguf", model::get_recipe("Q4_K_M")}) ==
              converted({whole, "out.gguf", model::get_recipe("Q4_K_M")}));
    }
    CHECK_THAT(open(folder.path / "m-00002-of-00002.gguf"), Contains("expected the first"));
    write_shard(1, {tensors.begin() + 1, tensors.end()}, 7);
    CHECK_THAT(open(first), Contains("split.tensors.count"));
    write_shard(0, {tensors.begin(), tensors.begin() + 2}, 7);
    CHECK_THAT(open(first), Contains("found in two shards"));
    std::filesystem::remove(folder.path / "m-00002-of-00002.gguf");
    CHECK_THAT(open(first), Contains("m-00002-of-00002.gguf"));
    std::filesystem::rename(first, folder.path / "renamed.gguf");
    CHECK_THAT(open(folder.path / "renamed.gguf"), Contains("expected a name that ends in"));
}

TEST_CASE("Errors of weights: known sums, and those of encoding") {
    const std::vector<float> r{3, 0, -4, 0, 0, 0, 0, 0, 0, 0}, y{3, 0, -4, 0, 0, 0, 0, 0, 0, 1};
    const model::weight_error error = model::compare_floats(r, y);
    CHECK(error.elements == 10);
    CHECK(error.relative_rmse() == Approx(0.2));
    CHECK(error.largest == 1);
    CHECK(error.cosine() == Approx(25 / (5 * std::sqrt(26.0))));
    CHECK(model::compare_floats(r, r).relative_rmse() == 0);
    CHECK(model::weight_error{}.cosine() == 1);
    const std::vector<float> bad{3, 0, -4, std::numeric_limits<float>::quiet_NaN(), 0, 0, 0,
                                 0, 0, 0};
    CHECK(std::isnan(model::compare_floats(r, bad).relative_rmse()));
    CHECK(std::isnan(model::compare_floats(r, bad).largest));

    const scratch_folder folder;
    const auto values = weights(std::size_t{512} * 200, 14);
    model_test::write_model(folder.path / "a.gguf", llama_metadata(),
                            {make_tensor("x.weight", {512, 200}, F32, values)});
    model_test::write_model(folder.path / "b.gguf", llama_metadata(),
                            {make_tensor("x.weight", {512, 200}, Q4_0, values)});
    const model::model_source a(folder.path / "a.gguf"), b(folder.path / "b.gguf");
    const std::vector<std::uint32_t> formats{F32, Q4_0, Q8_0};
    const auto errors = model::encoding_errors(a.tensors()[0], formats, all_at_once{});
    const auto compared = model::compare_tensors(a.tensors()[0], b.tensors()[0]);
    CHECK(errors[0].relative_rmse() == 0);
    CHECK(errors[1].squared_error == compared.squared_error);
    CHECK(errors[1].elements == values.size());
    CHECK(errors[1].relative_rmse() > 10 * errors[2].relative_rmse());
    CHECK(errors[2].relative_rmse() > 0);
}
