// SPDX-License-Identifier: Apache-2.0
//
// What recipes and estimates take from a GGUF file.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "catch.hpp"
#include "qdial/gguf/writer.hpp"
#include "qdial/model/architecture.hpp"
#include "qdial/model/estimate.hpp"

namespace {

namespace gguf = qdial::gguf;
namespace model = qdial::model;

gguf::metadata llama_metadata() {
    gguf::metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", std::uint32_t{3});
    metadata.set("llama.embedding_length", std::uint32_t{512});
    metadata.set("llama.context_length", std::uint32_t{2048});
    metadata.set("llama.attention.head_count", std::uint32_t{8});
    return metadata;
}

}  // namespace

TEST_CASE("hyper-parameters from metadata") {
    gguf::metadata metadata = llama_metadata();
    model::architecture arch = model::architecture_from(metadata);
    CHECK(arch.name == "llama");
    CHECK(arch.block_count == 3);
    CHECK(arch.embedding_length == 512);
    CHECK(arch.context_length == 2048);
    CHECK(arch.head_count[2] == 8);
    CHECK(arch.head_count_kv[0] == 8);  // as many as heads
    CHECK(arch.key_length == 64);       // heads share the embedding
    CHECK(arch.value_length == 64);
    CHECK(arch.expert_count == 0);
    CHECK(arch.vocabulary_size == 0);
    CHECK(model::heads_per_kv_head(arch) == 1);

    metadata.set("llama.attention.head_count_kv", std::uint64_t{2});
    metadata.set("llama.attention.key_length", std::uint32_t{128});
    metadata.set("llama.attention.value_length", std::uint32_t{96});
    metadata.set("llama.expert_count", std::uint32_t{8});
    metadata.set("llama.vocab_size", std::uint32_t{77});
    arch = model::architecture_from(metadata);
    CHECK(model::heads_per_kv_head(arch) == 4);
    CHECK(arch.key_length == 128);
    CHECK(arch.value_length == 96);
    CHECK(arch.expert_count == 8);
    CHECK(arch.vocabulary_size == 77);
    metadata.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "c"});
    CHECK(model::architecture_from(metadata).vocabulary_size == 3);
}

TEST_CASE("head counts layer by layer") {
    gguf::metadata metadata = llama_metadata();
    metadata.set("llama.attention.head_count", std::vector<std::int32_t>{16, 8, 4});
    metadata.set("llama.attention.head_count_kv", std::vector<std::int32_t>{4, 0, 2});
    const model::architecture arch = model::architecture_from(metadata);
    CHECK(arch.head_count[1] == 8);
    CHECK(arch.head_count_kv[2] == 2);
    CHECK(arch.head_count_kv[3] == 0);
    CHECK(model::heads_per_kv_head(arch) == 4);
    CHECK(arch.key_length == 32);
    CHECK(model::kv_cache_bytes(arch, 10) == 6u * 64 * 10 * 2);
}

TEST_CASE("metadata that says little or nonsense") {
    const model::architecture nothing = model::architecture_from(gguf::metadata{});
    CHECK(nothing.name.empty());
    CHECK(nothing.block_count == 0);
    CHECK(model::heads_per_kv_head(nothing) == 0);

    for (const std::string key :
         {"llama.block_count", "llama.attention.head_count", "llama.attention.head_count_kv"}) {
        CAPTURE(key);
        gguf::metadata metadata = llama_metadata();
        metadata.set(key, "many");
        CHECK_THROWS_WITH(model::architecture_from(metadata), Catch::Contains("\"" + key + "\""));
        metadata.set(key, std::int32_t{-1});
        CHECK_THROWS_AS(model::architecture_from(metadata), qdial::error);
        metadata.set(key, std::vector<std::string>{"x"});
        CHECK_THROWS_AS(model::architecture_from(metadata), qdial::error);
    }
    gguf::metadata metadata = llama_metadata();
    metadata.set("llama.attention.head_count", std::vector<std::uint32_t>{});
    CHECK(model::architecture_from(metadata).key_length == 0);
}

TEST_CASE("tensors of a file") {
    gguf::tensor_shape shape;
    shape.extent = {64, 3, 2, 1};
    shape.n_dims = 3;
    const gguf::file_plan plan("made.gguf", llama_metadata(),
                               {{"blk.0.x.weight", shape, qdial::info_of<qdial::q8_0>}});
    std::vector<std::byte> bytes;
    gguf::writer writer(plan, [&](std::span<const std::byte> part) {
        bytes.insert(bytes.end(), part.begin(), part.end());
    });
    writer.append(std::vector<std::byte>(68 * 6));
    writer.finish();
    const gguf::file file(bytes, "made.gguf");
    const auto tensors = model::tensors_of(file);
    REQUIRE(tensors.size() == 1);
    CHECK(tensors[0].name == "blk.0.x.weight");
    CHECK(tensors[0].dims == std::array<std::uint64_t, 4>{64, 3, 2, 1});
    CHECK(tensors[0].format == qdial::q8_0::gguf_id);
    CHECK(tensors[0].rows() == 6);
    CHECK(tensors[0].elements() == 384);
    CHECK(model::bytes_in(tensors[0], qdial::info_of<qdial::q8_0>) == 408);
    CHECK(model::architecture_from(file).name == "llama");
}
