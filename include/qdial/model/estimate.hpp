// SPDX-License-Identifier: Apache-2.0
//
// How large a model gets with each recipe and what it takes to run it, without its weights.
//
//     memory = tensors + key/value cache + working memory
//
//     key/value cache   2 bytes x context x (sum over layers of key/value heads)
//                                         x (key length + value length)
//     working memory    4 bytes x 512 tokens x (vocabulary + embedding length) + 128 MiB
//
// The cache is F16 and full length in every layer: an upper bound for models whose layers look at
// a window only or store keys compressed, and nothing is counted for the states of recurrent
// layers. Working memory is what llama.cpp sets aside for a batch of 512 tokens with flash
// attention, mostly its logits, plus the program itself. Everything is taken to be in one memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "qdial/model/description.hpp"
#include "qdial/model/recipes.hpp"

namespace qdial::model {

/// Memory of the machines that estimates judge, in GiB.
inline constexpr std::array<std::uint32_t, 5> machine_gibibytes{4, 8, 16, 24, 32};

/// What a machine leaves to a model: all but an eighth, at least 1 GiB, which the system and
/// other programs keep. In bytes.
[[nodiscard]] constexpr std::uint64_t usable_memory(std::uint64_t machine_bytes) noexcept {
    constexpr std::uint64_t least = std::uint64_t{1} << 30;
    const std::uint64_t kept = std::max(machine_bytes / 8, least);
    return machine_bytes > kept ? machine_bytes - kept : 0;
}

/// Tokens of context that estimates assume if nothing else is asked for: 4096, or what the model
/// was trained for if that is less.
[[nodiscard]] constexpr std::uint64_t default_context(const architecture& arch) noexcept {
    constexpr std::uint32_t common = 4096;
    return arch.context_length == 0 ? common : std::min(arch.context_length, common);
}

namespace detail {

/// Sums and products that stop at the largest number: metadata may claim anything.
[[nodiscard]] constexpr std::uint64_t capped_product(std::uint64_t a, std::uint64_t b) noexcept {
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    return b != 0 && a > most / b ? most : a * b;
}
[[nodiscard]] constexpr std::uint64_t capped_sum(std::uint64_t a, std::uint64_t b) noexcept {
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    return a > most - b ? most : a + b;
}

}  // namespace detail

/// Bytes of the key/value cache for `context` tokens.
[[nodiscard]] inline std::uint64_t kv_cache_bytes(const architecture& arch,
                                                  std::uint64_t context) noexcept {
    const std::vector<std::uint32_t>& heads = arch.head_count_kv.values;
    std::uint64_t all_heads = 0;
    if (heads.size() == 1) {
        all_heads = std::uint64_t{heads[0]} * arch.block_count;
    } else {
        for (const std::uint32_t count : heads) all_heads += count;
    }
    const std::uint64_t a_head = std::uint64_t{arch.key_length} + arch.value_length;
    constexpr std::uint64_t bytes_per_element = 2;
    return detail::capped_product(
        detail::capped_product(detail::capped_product(all_heads, a_head), context),
        bytes_per_element);
}

/// Bytes of working memory.
[[nodiscard]] constexpr std::uint64_t working_bytes(const architecture& arch) noexcept {
    constexpr std::uint64_t batch = 512;
    constexpr std::uint64_t program = std::uint64_t{128} << 20;
    return 4 * batch * (std::uint64_t{arch.vocabulary_size} + arch.embedding_length) + program;
}

/// One recipe's outcome for one model.
struct recipe_estimate {
    const recipe* made_from;
    std::uint64_t tensor_bytes;  ///< all tensors
    std::uint64_t file_bytes;    ///< tensors padded to 32 bytes, and the metadata
    double bits_per_weight;
    std::size_t fallbacks;       ///< tensors that take another format because of their row length
    std::uint64_t memory_bytes;  ///< to run it
    std::array<bool, machine_gibibytes.size()> fits;  ///< on each of `machine_gibibytes`
};

/// What a model takes, recipe by recipe.
struct model_estimate {
    std::uint64_t context;  ///< tokens
    std::uint64_t kv_cache_bytes;
    std::uint64_t working_bytes;
    std::vector<recipe_estimate> recipes;  ///< in the order of `model::recipes`
};

/// The estimate for one recipe. `metadata_bytes`: what the file holds in front of its tensors.
[[nodiscard]] inline recipe_estimate estimate_recipe(const recipe& made_from,
                                                     const architecture& arch,
                                                     std::span<const tensor_shape> tensors,
                                                     std::uint64_t context,
                                                     std::uint64_t metadata_bytes = 0) {
    const quantization_plan plan = choose_types(made_from, arch, tensors);
    recipe_estimate result{};
    result.made_from = &made_from;
    result.tensor_bytes = plan.bytes;
    result.file_bytes = metadata_bytes;
    for (const planned_tensor& planned : plan.tensors)
        result.file_bytes += (planned.bytes + 31) / 32 * 32;
    result.bits_per_weight = plan.bits_per_weight();
    result.fallbacks = plan.fallbacks;
    result.memory_bytes = detail::capped_sum(
        detail::capped_sum(plan.bytes, kv_cache_bytes(arch, context)), working_bytes(arch));
    for (std::size_t i = 0; i < machine_gibibytes.size(); ++i) {
        const std::uint64_t machine = std::uint64_t{machine_gibibytes[i]} << 30;
        result.fits[i] = result.memory_bytes <= usable_memory(machine);
    }
    return result;
}

/// The estimate for every recipe; `context` 0 means `default_context(arch)`.
[[nodiscard]] inline model_estimate estimate(const architecture& arch,
                                             std::span<const tensor_shape> tensors,
                                             std::uint64_t context = 0,
                                             std::uint64_t metadata_bytes = 0) {
    if (context == 0) context = default_context(arch);
    model_estimate result{context, kv_cache_bytes(arch, context), working_bytes(arch), {}};
    for (const recipe& candidate : recipes) {
        result.recipes.push_back(
            estimate_recipe(candidate, arch, tensors, context, metadata_bytes));
    }
    return result;
}

}  // namespace qdial::model
