// SPDX-License-Identifier: Apache-2.0
//
// From a recipe and a model's shape to the format of every tensor.
//
//     auto plan = qdial::model::make_plan(qdial::model::get_recipe("Q4_K_M"), arch, tensors);
//     for (const auto& t : plan.tensors) ...   // in the order of the quantized file
//
// The rules themselves are in recipe_tables.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <regex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qdial/error.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/gguf/text.hpp"
#include "qdial/model/description.hpp"
#include "qdial/model/recipe_tables.hpp"

namespace qdial::model {

/// The recipe of this name or alias, in any letter case; nullptr if there is none.
[[nodiscard]] constexpr const recipe* find_recipe(std::string_view name) noexcept {
    for (const auto& alias : recipe_tables::aliases)
        if (qdial::detail::equal_ignoring_case(alias.name, name)) name = alias.recipe;
    for (const recipe& candidate : recipes)
        if (qdial::detail::equal_ignoring_case(candidate.name, name)) return &candidate;
    return nullptr;
}

/// As `find_recipe`, but throws `error` that lists the recipes.
[[nodiscard]] inline const recipe& get_recipe(std::string_view name) {
    if (const recipe* found = find_recipe(name)) return *found;
    std::string message = "unknown recipe " + gguf::detail::quoted(name);
    if (const auto format = find_format(name); format && !format->encodable)
        message += " (" + std::string(format->name) + " cannot be encoded)";
    message += "; expected one of";
    for (const recipe& candidate : recipes) message += " " + std::string(candidate.name);
    throw error(message);
}

/// A user's choice for the tensors whose names contain a match of a regular expression.
struct type_override {
    std::string text;    ///< as given, for messages
    std::regex pattern;  ///< searched in the name
    std::uint32_t format;
};

/// The GGUF id of a format that can be encoded. `what` names the option in the `error` that is
/// thrown for unknown names and for formats without an encoder.
[[nodiscard]] inline std::uint32_t parse_target_format(std::string_view name,
                                                       std::string_view what) {
    const auto format = find_format(name);
    if (!format) throw error(std::string(what) + ": unknown format " + gguf::detail::quoted(name));
    if (!format->encodable)
        throw error(std::string(what) + ": " + std::string(format->name) + " cannot be encoded");
    return format->gguf_id;
}

/// Parses "REGEX=TYPE". The expression (ECMAScript) is taken in lower case, which is how names of
/// tensors are written. Throws `error`.
[[nodiscard]] inline type_override parse_type_override(std::string_view text) {
    const std::size_t equals = text.rfind('=');
    const std::string quoted = "type override " + gguf::detail::quoted(text);
    if (equals == text.npos || equals == 0) throw error(quoted + ": expected REGEX=TYPE");
    const std::uint32_t format = parse_target_format(text.substr(equals + 1), quoted);
    std::string expression(text.substr(0, equals));
    std::ranges::transform(expression, expression.begin(), qdial::detail::to_lower);
    try {
        return {std::string(text), std::regex(expression), format};
    } catch (const std::regex_error& problem) {
        throw error(quoted + ": not a regular expression: " + problem.what());
    }
}

/// What a user may ask for on top of a recipe.
struct plan_options {
    std::string file;               ///< the source, for messages; may be empty
    bool pure = false;              ///< the recipe's default format for all tensors, no mixture
    bool allow_requantize = false;  ///< quantized sources may become another quantized format
    bool no_fallback = false;       ///< refuse tensors whose rows do not fit the chosen format
    std::optional<std::uint32_t> output_format;     ///< for `output.weight` (or tied embeddings)
    std::optional<std::uint32_t> embedding_format;  ///< for the token embeddings
    std::vector<type_override> overrides;           ///< first match wins; quantized recipes only
    /// Set if there is an importance matrix: does it have weights for this tensor?
    std::function<bool(const tensor_shape&)> has_importance;
};

/// What becomes of one tensor.
struct planned_tensor {
    std::size_t source;     ///< index in the list that the plan was made from
    std::uint32_t format;   ///< GGUF id of the type it gets
    bool fallback;          ///< its rows do not divide into the blocks of `chosen`
    std::uint32_t chosen;   ///< the format before the fallback
    std::uint64_t bytes;    ///< in `format`, without padding
    bool needs_importance;  ///< too few bits to be of use without importance weights
};

/// The types of all tensors, in the order of the quantized file.
struct quantization_plan {
    const recipe* made_from;
    std::vector<planned_tensor> tensors;
    std::uint64_t bytes = 0;     ///< of all tensors, without padding
    std::uint64_t elements = 0;  ///< of all tensors
    std::size_t fallbacks = 0;

    [[nodiscard]] double bits_per_weight() const noexcept {
        return elements == 0 ? 0.0
                             : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
    }
};

namespace detail {

[[noreturn]] inline void fail(const plan_options& options, const tensor_shape& tensor,
                              const std::string& what) {
    throw error((options.file.empty() ? "" : options.file + ": ") + "tensor " +
                gguf::detail::quoted(tensor.name) + ": " + what);
}

/// Where a tensor stands: layer `index` of `count` (see `layers`).
struct position {
    std::int64_t index = 0;
    std::int64_t count = 0;
};

[[nodiscard]] constexpr bool applies(layers which, position at) noexcept {
    const std::int64_t i = at.index;
    const std::int64_t n = at.count;
    switch (which) {
        case layers::all:
            return true;
        case layers::first_two:
            return i < 2;
        case layers::first_four:
            return i < 4;
        case layers::first_sixteenth:
            return i < n / 16;
        case layers::first_eighth:
            return i < n / 8;
        case layers::more:
            return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    }
    return false;
}

[[nodiscard]] inline bool is_large_model(const architecture& arch) noexcept {
    return std::ranges::any_of(recipe_tables::large_models, [&](const auto& large) {
        return arch.name == large.architecture && arch.block_count == large.block_count &&
               (!large.only_with_shared_heads || arch.head_count[0] != arch.head_count_kv[0]);
    });
}

/// Applies one recipe to the tensors of one model, in file order: the position of a tensor
/// depends on those before it.
class type_chooser {
public:
    type_chooser(const recipe& made_from, const architecture& arch,
                 std::span<const tensor_shape> tensors, const plan_options& options)
        : recipe_(made_from), arch_(arch), options_(options) {
        for (const tensor_shape& tensor : tensors) {
            const tensor_role role = role_of(tensor.name);
            if (role == tensor_role::attention_value) ++value_count_;
            if (role == tensor_role::output) tied_ = false;
        }
    }

    /// The format for the next tensor, before any fallback; the shape is not looked at except
    /// for the output head.
    [[nodiscard]] std::uint32_t choose(const tensor_shape& tensor) {
        const tensor_role role = role_of(tensor.name);
        if (role == tensor_role::embedding && options_.embedding_format)
            return *options_.embedding_format;
        if (role == tensor_role::output && options_.output_format) return *options_.output_format;
        if (is_float(recipe_.format)) return recipe_.format;
        for (const type_override& forced : options_.overrides)
            if (std::regex_search(tensor.name, forced.pattern)) return forced.format;
        if (options_.pure) return recipe_.format;
        if (role == tensor_role::output || (role == tensor_role::embedding && tied_))
            return output_format(tensor);
        return by_rules(role, next_position(role, tensor));
    }

    [[nodiscard]] static bool is_float(std::uint32_t format) {
        const auto info = find_format(format);
        return info && info->is_float;
    }

private:
    [[nodiscard]] std::uint32_t output_format(const tensor_shape& tensor) const {
        if (options_.output_format) return *options_.output_format;
        const bool divides = tensor.dims[0] % find_format(recipe_.format)->block_length == 0;
        return applies(models::falcon) || !divides ? q8_0::gguf_id : recipe_.output_format;
    }

    [[nodiscard]] std::uint32_t by_rules(tensor_role role, position at) const {
        const auto find_rule = [&](std::span<const rule> rules) -> const rule* {
            const auto found = std::ranges::find_if(rules, [&](const rule& r) {
                return r.role == role && applies(r.model) && detail::applies(r.layer, at);
            });
            return found == rules.end() ? nullptr : &*found;
        };
        const rule* found = find_rule(recipe_tables::common);
        if (found == nullptr) found = find_rule(recipe_.rules);
        const std::uint32_t format = found == nullptr ? recipe_.format : found->format;
        if (role == tensor_role::attention_value && is_large_model(arch_)) {
            for (const auto& upgrade : recipe_tables::large_model_values)
                if (upgrade.from == format) return upgrade.to;
        }
        return format;
    }

    [[nodiscard]] bool applies(models which) const noexcept {
        switch (which) {
            case models::all:
                return true;
            case models::falcon:
                return arch_.name == "falcon";
            case models::eight_experts:
                return arch_.expert_count == 8;
            case models::grouped_queries:
                return heads_per_kv_head(arch_) >= 4;
            case models::with_importance:
                return static_cast<bool>(options_.has_importance);
        }
        return false;
    }

    /// Attention values are counted among themselves. Feed-forward tensors are counted too, or
    /// have their layer in the name in models with experts, where there are several a layer.
    [[nodiscard]] position next_position(tensor_role role, const tensor_shape& tensor) {
        const std::int64_t layer_count = arch_.block_count;
        switch (role) {
            case tensor_role::attention_value:
                return {next_value_++, value_count_};
            case tensor_role::ffn_up:
                return ffn_position(next_up_, layer_count, tensor);
            case tensor_role::ffn_gate:
                return ffn_position(next_gate_, layer_count, tensor);
            case tensor_role::ffn_down:
                return ffn_position(next_down_, layer_count, tensor);
            default:
                return {};
        }
    }

    [[nodiscard]] position ffn_position(std::int64_t& next, std::int64_t count,
                                        const tensor_shape& tensor) const {
        const std::int64_t counted = next++;
        if (arch_.expert_count <= 1) return {counted, count};
        const auto layer = block_index(tensor.name);
        if (!layer || *layer < 0 || *layer >= count) {
            fail(options_, tensor,
                 "found a name without a layer, expected one that starts with blk.N, N below " +
                     std::to_string(count) + ", because the model has experts");
        }
        return {*layer, count};
    }

    const recipe& recipe_;
    const architecture& arch_;
    const plan_options& options_;
    bool tied_ = true;  ///< no output head: the embeddings serve as one
    std::int64_t value_count_ = 0;
    std::int64_t next_value_ = 0, next_up_ = 0, next_gate_ = 0, next_down_ = 0;
};

/// The format for rows of this length: `chosen` or its substitute.
[[nodiscard]] inline std::uint32_t format_for_rows(std::uint64_t row_length, std::uint32_t chosen) {
    const auto fits = [row_length](std::uint32_t format) {
        return row_length % find_format(format)->block_length == 0;
    };
    if (fits(chosen)) return chosen;
    for (const auto& [format, instead] : recipe_tables::substitutes)
        if (format == chosen && fits(instead)) return instead;
    return f16::gguf_id;
}

[[nodiscard]] inline planned_tensor plan_tensor(const recipe& made_from, type_chooser& chooser,
                                                const tensor_shape& tensor,
                                                const plan_options& options) {
    planned_tensor planned{};
    planned.format = planned.chosen = tensor.format;
    if (may_be_quantized(tensor)) {
        planned.chosen = chooser.choose(tensor);
        planned.format = format_for_rows(tensor.dims[0], planned.chosen);
        planned.fallback = planned.format != planned.chosen;
        const tensor_role role = role_of(tensor.name);
        planned.needs_importance = made_from.importance_for_default &&
                                   planned.format == made_from.format &&
                                   role != tensor_role::output && role != tensor_role::embedding;
    }
    const auto info = find_format(planned.format);
    if (!info)
        fail(options, tensor, "found " + format_name(planned.format) + ", expected a known type");
    planned.bytes = bytes_in(tensor, *info);
    return planned;
}

}  // namespace detail

/// Chooses the type of every tensor. Says nothing about whether the conversion is possible:
/// see `check_plan`. Throws `error` where the rules need a layer and a name has none.
[[nodiscard]] inline quantization_plan choose_types(const recipe& made_from,
                                                    const architecture& arch,
                                                    std::span<const tensor_shape> tensors,
                                                    const plan_options& options = {}) {
    std::vector<std::size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(
        order, [&](std::size_t a, std::size_t b) { return comes_before(tensors[a], tensors[b]); });

    detail::type_chooser chooser(made_from, arch, tensors, options);
    quantization_plan plan{&made_from, {}};
    plan.tensors.reserve(tensors.size());
    for (const std::size_t source : order) {
        planned_tensor planned = detail::plan_tensor(made_from, chooser, tensors[source], options);
        planned.source = source;
        plan.bytes += planned.bytes;
        plan.elements += tensors[source].elements();
        plan.fallbacks += planned.fallback ? 1 : 0;
        plan.tensors.push_back(planned);
    }
    return plan;
}

/// Throws `error`, naming the tensor, where a plan cannot or should not be carried out: formats
/// without an encoder or decoder, requantization and fallbacks that the options do not allow,
/// missing importance weights.
inline void check_plan(const quantization_plan& plan, std::span<const tensor_shape> tensors,
                       const plan_options& options = {}) {
    for (const planned_tensor& planned : plan.tensors) {
        const tensor_shape& tensor = tensors[planned.source];
        const auto refuse = [&](const std::string& why) { detail::fail(options, tensor, why); };
        if (planned.fallback && options.no_fallback) {
            refuse("rows of " + std::to_string(tensor.dims[0]) + " do not divide into blocks of " +
                   format_name(planned.chosen) + ", and falling back to " +
                   format_name(planned.format) + " is not allowed");
        }
        if (planned.format == tensor.format) continue;  // copied as it is
        const auto from = find_format(tensor.format);
        const auto to = find_format(planned.format);
        if (!from || !from->decodable) refuse(format_name(tensor.format) + " cannot be decoded");
        if (!to->encodable) refuse(std::string(to->name) + " cannot be encoded");
        if (!from->is_float && !to->is_float && !options.allow_requantize) {
            refuse("already quantized (" + std::string(from->name) + "); quantizing it again to " +
                   std::string(to->name) +
                   " adds a second error to the first, so it must be allowed explicitly");
        }
        if (planned.needs_importance && !(options.has_importance && options.has_importance(tensor)))
            refuse(std::string(plan.made_from->name) + " needs importance weights for it");
    }
}

/// `choose_types`, then `check_plan`.
[[nodiscard]] inline quantization_plan make_plan(const recipe& made_from, const architecture& arch,
                                                 std::span<const tensor_shape> tensors,
                                                 const plan_options& options = {}) {
    quantization_plan plan = choose_types(made_from, arch, tensors, options);
    check_plan(plan, tensors, options);
    return plan;
}

}  // namespace qdial::model
