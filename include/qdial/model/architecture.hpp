// SPDX-License-Identifier: Apache-2.0
//
// A GGUF file's own account of its model, as recipes and estimates take it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qdial/gguf/reader.hpp"
#include "qdial/model/description.hpp"

namespace qdial::model {

namespace detail {

/// A number for all layers or an array with one for each; nothing if there is no such key.
[[nodiscard]] inline std::optional<per_layer> find_per_layer(const gguf::metadata& metadata,
                                                             const std::string& key) {
    const auto found = std::ranges::find(metadata, key, &gguf::entry::key);
    if (found == metadata.end()) return std::nullopt;
    if (found->value().type() == gguf::value_type::array)
        return per_layer(metadata.get<std::vector<std::uint32_t>>(key));
    return per_layer(metadata.get<std::uint32_t>(key));
}

}  // namespace detail

/// Reads the hyper-parameters from metadata. Keys that are missing leave zeros, or the value that
/// llama.cpp takes for them: as many key/value heads as heads, heads that share the embedding.
/// Throws `error` for values of the wrong type.
[[nodiscard]] inline architecture architecture_from(const gguf::metadata& metadata) {
    architecture arch;
    arch.name = metadata.find<std::string_view>("general.architecture").value_or("");
    const auto number = [&](std::string_view key) {
        return metadata.find<std::uint32_t>(arch.name + "." + std::string(key));
    };
    arch.block_count = number("block_count").value_or(0);
    arch.embedding_length = number("embedding_length").value_or(0);
    arch.context_length = number("context_length").value_or(0);
    arch.expert_count = number("expert_count").value_or(0);

    const std::string attention = arch.name + ".attention.";
    arch.head_count =
        detail::find_per_layer(metadata, attention + "head_count").value_or(per_layer());
    arch.head_count_kv =
        detail::find_per_layer(metadata, attention + "head_count_kv").value_or(arch.head_count);
    const std::uint32_t heads = arch.head_count[0];
    const std::uint32_t head_length = heads == 0 ? 0 : arch.embedding_length / heads;
    arch.key_length = number("attention.key_length").value_or(head_length);
    arch.value_length = number("attention.value_length").value_or(head_length);

    arch.vocabulary_size = number("vocab_size").value_or(0);
    if (const auto tokens = metadata.find<gguf::array_view>("tokenizer.ggml.tokens");
        tokens && std::in_range<std::uint32_t>(tokens->size()))
        arch.vocabulary_size = static_cast<std::uint32_t>(tokens->size());
    return arch;
}

/// As above, from an open file.
[[nodiscard]] inline architecture architecture_from(const gguf::file& file) {
    return architecture_from(file.metadata());
}

/// Names, shapes and types of all tensors, in the order of the file.
[[nodiscard]] inline std::vector<tensor_shape> tensors_of(const gguf::file& file) {
    std::vector<tensor_shape> tensors;
    tensors.reserve(file.tensors().size());
    for (const gguf::tensor& tensor : file.tensors())
        tensors.push_back({std::string(tensor.name), tensor.shape.extent, tensor.format.gguf_id});
    return tensors;
}

}  // namespace qdial::model
