// SPDX-License-Identifier: Apache-2.0
//
// What recipes and estimates need to know of a model: a few numbers of its architecture and the
// names and shapes of its tensors. No weights, no file.
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "qdial/formats/list.hpp"

namespace qdial::model {

/// A number that a model gives once for all layers or once per layer.
struct per_layer {
    std::vector<std::uint32_t> values;  ///< empty: unknown; one: for all layers; else one a layer

    per_layer() = default;
    per_layer(std::uint32_t for_all_layers) : values{for_all_layers} {}
    explicit per_layer(std::vector<std::uint32_t> one_a_layer) : values(std::move(one_a_layer)) {}

    /// The value for `layer`, 0 where the model gives none.
    [[nodiscard]] std::uint32_t operator[](std::size_t layer) const noexcept {
        if (values.size() == 1) return values[0];
        return layer < values.size() ? values[layer] : 0;
    }
};

/// The hyper-parameters that choose types and size the memory. Zero means "not given".
struct architecture {
    std::string name;               ///< `general.architecture`, for example "llama"
    std::uint32_t block_count = 0;  ///< layers
    std::uint32_t embedding_length = 0;
    std::uint32_t vocabulary_size = 0;
    std::uint32_t context_length = 0;  ///< tokens that the model was trained for
    per_layer head_count;              ///< query heads
    per_layer head_count_kv;           ///< key/value heads
    std::uint32_t key_length = 0;      ///< elements of one key head
    std::uint32_t value_length = 0;    ///< elements of one value head
    std::uint32_t expert_count = 0;    ///< 0 for dense models
};

/// Query heads that share one key/value head, in the first layer; 0 if there are none.
[[nodiscard]] inline std::uint32_t heads_per_kv_head(const architecture& arch) noexcept {
    return arch.head_count_kv[0] == 0 ? 0 : arch.head_count[0] / arch.head_count_kv[0];
}

/// A tensor without its data. `dims[0]` is the row length (contiguous); unused dims are 1.
struct tensor_shape {
    std::string name;
    std::array<std::uint64_t, 4> dims{1, 1, 1, 1};
    std::uint32_t format = 0;  ///< GGUF id of the type it has now

    [[nodiscard]] std::uint64_t rows() const noexcept { return dims[1] * dims[2] * dims[3]; }
    [[nodiscard]] std::uint64_t elements() const noexcept { return dims[0] * rows(); }
};

/// Bytes of `shape` stored in `format`, without padding.
/// The row length must be a multiple of the block length.
[[nodiscard]] inline std::uint64_t bytes_in(const tensor_shape& shape,
                                            const format_info& format) noexcept {
    return shape.dims[0] / format.block_length * format.block_bytes * shape.rows();
}

/// The name of a format for messages; a number if the id is unknown.
[[nodiscard]] inline std::string format_name(std::uint32_t gguf_id) {
    const auto info = find_format(gguf_id);
    return info ? std::string(info->name) : "type " + std::to_string(gguf_id);
}

/// The N of a name that starts with "blk.N", nothing for other names.
[[nodiscard]] inline std::optional<int> block_index(std::string_view name) noexcept {
    constexpr std::string_view prefix = "blk.";
    if (!name.starts_with(prefix)) return std::nullopt;
    int index = 0;
    const auto digits = name.substr(prefix.size());
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (status != std::errc{}) return std::nullopt;
    return index;
}

/// The order of tensors in a quantized file: those outside blocks, then block by block; by name,
/// byte for byte, among equals.
[[nodiscard]] inline bool comes_before(const tensor_shape& a, const tensor_shape& b) noexcept {
    return std::tuple(block_index(a.name).value_or(-1), std::string_view(a.name)) <
           std::tuple(block_index(b.name).value_or(-1), std::string_view(b.name));
}

/// What a tensor does in the model, as far as recipes care.
enum class tensor_role {
    output,           ///< the output head
    embedding,        ///< token embeddings
    attention_value,  ///< values, also fused query-key-value and compressed key-value
    attention_key,
    attention_query,
    attention_output,
    ffn_up,
    ffn_gate,
    ffn_down,
    other,
};

struct role_name {
    std::string_view text;
    tensor_role role;
    bool whole_name;  ///< `text` is the whole name, not a part of it
};

/// How names tell roles; the first match wins. Parts of names also match the tensors of experts
/// ("ffn_down_exps.weight").
inline constexpr role_name role_names[] = {
    {"output.weight", tensor_role::output, true},
    {"token_embd.weight", tensor_role::embedding, true},
    {"per_layer_token_embd.weight", tensor_role::embedding, true},
    {"attn_qkv.weight", tensor_role::attention_value, false},
    {"attn_kv_b.weight", tensor_role::attention_value, false},
    {"attn_v.weight", tensor_role::attention_value, false},
    {"attn_k.weight", tensor_role::attention_key, false},
    {"attn_q.weight", tensor_role::attention_query, false},
    {"attn_output.weight", tensor_role::attention_output, false},
    {"ffn_up", tensor_role::ffn_up, false},
    {"ffn_gate", tensor_role::ffn_gate, false},
    {"ffn_down", tensor_role::ffn_down, false},
};

[[nodiscard]] constexpr tensor_role role_of(std::string_view name) noexcept {
    for (const role_name& entry : role_names) {
        if (entry.whole_name ? name == entry.text : name.find(entry.text) != name.npos)
            return entry.role;
    }
    return tensor_role::other;
}

/// Parts of names of matrices that stay as they are: norms, expert routers, and small or
/// sensitive matrices of particular architectures (convolutions of state-space models, RWKV's
/// time mixing, positional tables, vision and audio front ends).
inline constexpr std::string_view never_quantized_parts[] = {
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "attn_rel_b.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
};

/// Whole names that stay as they are.
inline constexpr std::string_view never_quantized_names[] = {"position_embd.weight",
                                                             "token_types.weight"};

/// True if recipes may change the type of this tensor: a matrix (or a stack of them) whose name
/// ends in "weight" and is on neither list. All others keep the type they have.
[[nodiscard]] inline bool may_be_quantized(const tensor_shape& tensor) noexcept {
    const std::string_view name = tensor.name;
    const bool is_matrix = tensor.dims[1] > 1 || tensor.dims[2] > 1 || tensor.dims[3] > 1;
    if (!is_matrix || !name.ends_with("weight")) return false;
    for (const std::string_view part : never_quantized_parts)
        if (name.find(part) != name.npos) return false;
    for (const std::string_view whole : never_quantized_names)
        if (name == whole) return false;
    return true;
}

}  // namespace qdial::model
