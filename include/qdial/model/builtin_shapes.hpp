// SPDX-License-Identifier: Apache-2.0
//
// Well-known models by their hyper-parameters, to estimate sizes without having a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qdial/model/description.hpp"

namespace qdial::model {

/// The hyper-parameters of a decoder with gated feed-forward layers, all layers alike.
struct transformer_shape {
    std::string_view name;
    std::string_view architecture;
    std::uint32_t block_count;
    std::uint32_t embedding_length;
    std::uint32_t head_count, head_count_kv, head_length;
    std::uint32_t feed_forward_length;  ///< of each expert, if there are experts
    std::uint32_t vocabulary_size;
    std::uint32_t context_length;
    std::uint32_t expert_count = 0;
    bool tied_embeddings = false;  ///< the embeddings are the output head too
    bool query_key_norms = false;  ///< queries and keys are normalized per head
};

inline constexpr transformer_shape builtin_shapes[] = {
    {"llama-3.1-8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, 131072},
    {"qwen3-0.6b", "qwen3", 28, 1024, 16, 8, 128, 3072, 151936, 40960, 0, true, true},
    {"mixtral-8x7b", "llama", 32, 4096, 32, 8, 128, 14336, 32000, 32768, 8},
};

/// The built-in shape of this name, in any letter case; nullptr if there is none.
[[nodiscard]] constexpr const transformer_shape* find_builtin_shape(
    std::string_view name) noexcept {
    for (const transformer_shape& shape : builtin_shapes)
        if (qdial::detail::equal_ignoring_case(shape.name, name)) return &shape;
    return nullptr;
}

[[nodiscard]] inline architecture architecture_from(const transformer_shape& shape) {
    architecture arch;
    arch.name = shape.architecture;
    arch.block_count = shape.block_count;
    arch.embedding_length = shape.embedding_length;
    arch.vocabulary_size = shape.vocabulary_size;
    arch.context_length = shape.context_length;
    arch.head_count = shape.head_count;
    arch.head_count_kv = shape.head_count_kv;
    arch.key_length = arch.value_length = shape.head_length;
    arch.expert_count = shape.expert_count;
    return arch;
}

namespace detail {

/// Appends the tensors of layer `index`.
inline void append_block(std::vector<tensor_shape>& tensors, const transformer_shape& shape,
                         std::uint32_t index) {
    const auto add = [&](std::string_view name, std::uint64_t row_length, std::uint64_t rows,
                         std::uint64_t matrices, std::uint32_t format) {
        tensors.push_back({"blk." + std::to_string(index) + "." + std::string(name) + ".weight",
                           {row_length, rows, matrices, 1},
                           format});
    };
    const auto matrix = [&](std::string_view name, std::uint64_t row_length, std::uint64_t rows) {
        add(name, row_length, rows, 1, f16::gguf_id);
    };
    const auto norm = [&](std::string_view name, std::uint64_t length) {
        add(name, length, 1, 1, f32::gguf_id);
    };
    const std::uint64_t width = shape.embedding_length;
    const std::uint64_t queries = std::uint64_t{shape.head_count} * shape.head_length;
    const std::uint64_t keys = std::uint64_t{shape.head_count_kv} * shape.head_length;
    const std::uint64_t inner = shape.feed_forward_length;

    norm("attn_norm", width);
    matrix("attn_q", width, queries);
    matrix("attn_k", width, keys);
    matrix("attn_v", width, keys);
    matrix("attn_output", queries, width);
    if (shape.query_key_norms) {
        norm("attn_q_norm", shape.head_length);
        norm("attn_k_norm", shape.head_length);
    }
    norm("ffn_norm", width);
    if (shape.expert_count == 0) {
        matrix("ffn_gate", width, inner);
        matrix("ffn_up", width, inner);
        matrix("ffn_down", inner, width);
    } else {
        add("ffn_gate_inp", width, shape.expert_count, 1, f32::gguf_id);
        add("ffn_gate_exps", width, inner, shape.expert_count, f16::gguf_id);
        add("ffn_up_exps", width, inner, shape.expert_count, f16::gguf_id);
        add("ffn_down_exps", inner, width, shape.expert_count, f16::gguf_id);
    }
}

}  // namespace detail

/// The tensors of an F16 file of this model: matrices in F16, norms and routers in F32.
[[nodiscard]] inline std::vector<tensor_shape> tensors_of(const transformer_shape& shape) {
    const std::uint64_t width = shape.embedding_length;
    std::vector<tensor_shape> tensors{
        {"token_embd.weight", {width, shape.vocabulary_size, 1, 1}, f16::gguf_id},
        {"output_norm.weight", {width, 1, 1, 1}, f32::gguf_id},
    };
    if (!shape.tied_embeddings)
        tensors.push_back({"output.weight", {width, shape.vocabulary_size, 1, 1}, f16::gguf_id});
    for (std::uint32_t index = 0; index < shape.block_count; ++index)
        detail::append_block(tensors, shape, index);
    return tensors;
}

}  // namespace qdial::model
