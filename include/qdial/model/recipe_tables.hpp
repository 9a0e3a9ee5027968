// SPDX-License-Identifier: Apache-2.0
//
// The recipes as data: which format each kind of tensor gets. The choices are llama-quantize's, so
// that files come out the same; recipes.hpp applies them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "qdial/formats/list.hpp"
#include "qdial/model/description.hpp"

namespace qdial::model {

/// The layers that a rule is for. i is the layer, n the number of layers; divisions round down.
/// For attention values i and n count those tensors instead.
enum class layers {
    all,
    first_two,        ///< i < 2
    first_four,       ///< i < 4
    first_sixteenth,  ///< i < n/16
    first_eighth,     ///< i < n/8
    more,             ///< the first and last eighth and every third one between them
};

/// The models that a rule is for.
enum class models {
    all,
    falcon,           ///< architecture "falcon"
    eight_experts,    ///< Mixtral-like: attention is a small part, so it gets more bits
    grouped_queries,  ///< four or more query heads share a key/value head
    with_importance,  ///< an importance matrix is given
};

/// Tensors of this role get `format`, in these layers of these models.
struct rule {
    tensor_role role;
    models model;
    layers layer;
    std::uint32_t format;  ///< GGUF id
};

/// A named mixture of formats.
struct recipe {
    std::string_view name;
    std::uint32_t file_type;      ///< the value of `general.file_type`
    std::uint32_t format;         ///< for every tensor that no rule covers
    std::uint32_t output_format;  ///< for the output head, or the embeddings that serve as one
    std::span<const rule> rules;  ///< deviations; the first that applies wins
    bool importance_for_default = false;  ///< tensors in `format` need importance weights
};

namespace recipe_tables {

using enum tensor_role;
using enum layers;

inline constexpr auto F32 = f32::gguf_id;
inline constexpr auto F16 = f16::gguf_id;
inline constexpr auto BF16 = bf16::gguf_id;
inline constexpr auto Q4_0 = q4_0::gguf_id;
inline constexpr auto Q4_1 = q4_1::gguf_id;
inline constexpr auto Q5_0 = q5_0::gguf_id;
inline constexpr auto Q5_1 = q5_1::gguf_id;
inline constexpr auto Q8_0 = q8_0::gguf_id;
inline constexpr auto Q2_K = q2_k::gguf_id;
inline constexpr auto Q3_K = q3_k::gguf_id;
inline constexpr auto Q4_K = q4_k::gguf_id;
inline constexpr auto Q5_K = q5_k::gguf_id;
inline constexpr auto Q6_K = q6_k::gguf_id;

/// Before the rules of any quantized recipe.
inline constexpr rule common[] = {
    {attention_value, models::eight_experts, all, Q8_0},
    {attention_key, models::eight_experts, all, Q8_0},
};

inline constexpr rule q4_0_rules[] = {
    {ffn_down, models::with_importance, first_eighth, Q4_1},
};
inline constexpr rule q5_0_rules[] = {
    {ffn_down, models::with_importance, first_eighth, Q5_1},
};
inline constexpr rule q2_k_rules[] = {
    {attention_value, models::grouped_queries, all, Q4_K},
    {attention_value, models::all, all, Q3_K},
    {attention_output, models::falcon, all, Q2_K},
    {attention_output, models::eight_experts, all, Q5_K},
    {attention_output, models::all, all, Q3_K},
    {ffn_down, models::all, all, Q3_K},
};
inline constexpr rule q2_k_s_rules[] = {
    {attention_value, models::grouped_queries, all, Q4_K},
    {ffn_down, models::all, first_eighth, Q4_K},
};
inline constexpr rule q3_k_s_rules[] = {
    {attention_output, models::falcon, all, Q3_K},
    {attention_output, models::eight_experts, all, Q5_K},
};
inline constexpr rule q3_k_m_rules[] = {
    {attention_value, models::all, first_two, Q5_K},
    {attention_value, models::all, all, Q4_K},
    {attention_output, models::falcon, all, Q3_K},
    {attention_output, models::eight_experts, all, Q5_K},
    {attention_output, models::all, all, Q4_K},
    {ffn_down, models::all, first_sixteenth, Q5_K},
    {ffn_down, models::falcon, more, Q4_K},
    {ffn_down, models::falcon, all, Q3_K},
    {ffn_down, models::all, all, Q4_K},
};
inline constexpr rule q3_k_l_rules[] = {
    {attention_value, models::all, all, Q5_K},
    {attention_output, models::falcon, all, Q4_K},
    {attention_output, models::eight_experts, all, Q3_K},
    {attention_output, models::all, all, Q5_K},
    {ffn_down, models::falcon, all, Q4_K},
    {ffn_down, models::all, all, Q5_K},
};
inline constexpr rule q4_k_s_rules[] = {
    {attention_value, models::all, first_four, Q5_K},
    {attention_output, models::falcon, all, Q4_K},
    {attention_output, models::eight_experts, all, Q5_K},
    {ffn_down, models::falcon, all, Q4_K},
    {ffn_down, models::all, first_eighth, Q5_K},
};
inline constexpr rule q4_k_m_rules[] = {
    {attention_value, models::all, more, Q6_K},
    {attention_output, models::falcon, all, Q4_K},
    {attention_output, models::eight_experts, all, Q5_K},
    {ffn_down, models::falcon, first_sixteenth, Q6_K},
    {ffn_down, models::falcon, more, Q5_K},
    {ffn_down, models::falcon, all, Q4_K},
    {ffn_down, models::all, more, Q6_K},
};
inline constexpr rule q5_k_m_rules[] = {
    {attention_value, models::all, more, Q6_K},
    {ffn_down, models::all, more, Q6_K},
};

/// Attention values of 70B-class models are an eighth of their queries: bits are cheap there.
struct upgrade {
    std::uint32_t from, to;
};
inline constexpr upgrade large_model_values[] = {{Q3_K, Q5_K}, {Q4_K, Q5_K}};

/// What makes a 70B-class model.
struct large_model {
    std::string_view architecture;
    std::uint32_t block_count;
    bool only_with_shared_heads;  ///< fewer key/value heads than query heads
};
inline constexpr large_model large_models[] = {
    {"llama", 80, true}, {"qwen2", 80, false}, {"deci", 80, false},
    {"olmo", 80, false}, {"jais2", 68, false},
};

/// What a tensor gets when its rows do not divide into the blocks of the chosen format. Rows that
/// do not divide into the substitute's either become F16.
struct substitute {
    std::uint32_t format, instead;
};
inline constexpr substitute substitutes[] = {
    {Q2_K, Q4_0},
    {Q3_K, Q4_0},
    {Q4_K, Q5_0},
    {Q5_K, Q5_1},
    {Q6_K, Q8_0},
    {tq1_0::gguf_id, Q4_0},
    {tq2_0::gguf_id, Q4_0},
    {q2_0::gguf_id, Q4_0},
    {iq1_s::gguf_id, iq4_nl::gguf_id},
    {iq1_m::gguf_id, iq4_nl::gguf_id},
    {iq2_xxs::gguf_id, iq4_nl::gguf_id},
    {iq2_xs::gguf_id, iq4_nl::gguf_id},
    {iq2_s::gguf_id, iq4_nl::gguf_id},
    {iq3_xxs::gguf_id, iq4_nl::gguf_id},
    {iq3_s::gguf_id, iq4_nl::gguf_id},
    {iq4_xs::gguf_id, iq4_nl::gguf_id},
};

/// Another name for a recipe: a family's name means its medium member.
struct alias {
    std::string_view name, recipe;
};
inline constexpr alias aliases[] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};

}  // namespace recipe_tables

/// Every recipe, from the most to the fewest bits.
inline constexpr recipe recipes[] = {
    {"F32", 0, recipe_tables::F32, recipe_tables::F32, {}},
    {"F16", 1, recipe_tables::F16, recipe_tables::F16, {}},
    {"BF16", 32, recipe_tables::BF16, recipe_tables::BF16, {}},
    {"Q8_0", 7, recipe_tables::Q8_0, recipe_tables::Q8_0, {}},
    {"Q6_K", 18, recipe_tables::Q6_K, recipe_tables::Q6_K, {}},
    {"Q5_1", 9, recipe_tables::Q5_1, recipe_tables::Q6_K, {}},
    {"Q5_K_M", 17, recipe_tables::Q5_K, recipe_tables::Q6_K, recipe_tables::q5_k_m_rules},
    {"Q5_K_S", 16, recipe_tables::Q5_K, recipe_tables::Q6_K, {}},
    {"Q5_0", 8, recipe_tables::Q5_0, recipe_tables::Q6_K, recipe_tables::q5_0_rules},
    {"Q4_1", 3, recipe_tables::Q4_1, recipe_tables::Q6_K, {}},
    {"Q4_K_M", 15, recipe_tables::Q4_K, recipe_tables::Q6_K, recipe_tables::q4_k_m_rules},
    {"Q4_K_S", 14, recipe_tables::Q4_K, recipe_tables::Q6_K, recipe_tables::q4_k_s_rules},
    {"Q4_0", 2, recipe_tables::Q4_0, recipe_tables::Q6_K, recipe_tables::q4_0_rules},
    {"Q3_K_L", 13, recipe_tables::Q3_K, recipe_tables::Q6_K, recipe_tables::q3_k_l_rules},
    {"Q3_K_M", 12, recipe_tables::Q3_K, recipe_tables::Q6_K, recipe_tables::q3_k_m_rules},
    {"Q3_K_S", 11, recipe_tables::Q3_K, recipe_tables::Q6_K, recipe_tables::q3_k_s_rules},
    {"Q2_K", 10, recipe_tables::Q2_K, recipe_tables::Q6_K, recipe_tables::q2_k_rules},
    {"Q2_K_S", 21, recipe_tables::Q2_K, recipe_tables::Q6_K, recipe_tables::q2_k_s_rules, true},
};

}  // namespace qdial::model
