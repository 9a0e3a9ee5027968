// SPDX-License-Identifier: Apache-2.0
//
// The dial: the settings between full quality and smallest size, and what each is good for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qdial/error.hpp"
#include "qdial/gguf/text.hpp"
#include "qdial/model/recipes.hpp"

namespace qdial::model {

/// One setting of the dial.
struct rung {
    std::string_view setting;  ///< what people call it
    std::string_view recipe;
    bool standard;            ///< on the dial unless other settings are asked for
    std::string_view advice;  ///< in plain words: what it costs and whom it suits
};

/// Every rung, from the top down.
inline constexpr rung rungs[] = {
    {"FP16", "F16", true, "the memory is there and quality is all"},
    {"BF16", "BF16", false,
     "as large as FP16: lossless where the model was trained in BF16, otherwise prefer FP16"},
    {"Q8_0", "Q8_0", true, "near-identical, the sweet spot if it fits"},
    {"Q6_K", "Q6_K", true, "hard to tell from Q8_0, for when that just does not fit"},
    {"Q5_1", "Q5_1", false, "an older format: larger than Q5_K_M and no better, for old software"},
    {"Q5_K_M", "Q5_K_M", true, "slightly degraded, the underrated middle"},
    {"Q5_K_S", "Q5_K_S", false, "a little less than Q5_K_M in size and quality"},
    {"Q5_0", "Q5_0", false, "an older format: as large as Q5_K_S and worse, for old software"},
    {"Q4_1", "Q4_1", false, "an older format: larger than Q4_K_M and worse, for old software"},
    {"Q4_K_M", "Q4_K_M", true, "noticeable but acceptable, the laptop default"},
    {"Q4_K_S", "Q4_K_S", false, "a little worse than Q4_K_M, for when that just does not fit"},
    {"Q4_0", "Q4_0", false, "an older format: simple and fast to compute, worse than Q4_K_S"},
    {"Q3_K_L", "Q3_K_L", false,
     "visible, the best of three bits; Q4_K_S is a little larger and better"},
    {"Q3_K_M", "Q3_K_M", true, "visible, only when nothing else fits"},
    {"Q3_K_S", "Q3_K_S", false, "clearly worse than Q3_K_M, only to get something to run"},
    {"Q2_K", "Q2_K", true, "significant, demos and experiments"},
    {"Q2_K_S", "Q2_K_S", false, "the smallest and worst here; needs an importance matrix"},
};

/// The standard dial, from the top down.
[[nodiscard]] inline std::vector<const rung*> standard_rungs() {
    std::vector<const rung*> chosen;
    for (const rung& candidate : rungs)
        if (candidate.standard) chosen.push_back(&candidate);
    return chosen;
}

/// The rungs of a list such as "F16,Q8_0,Q4_K_M" (settings or recipes, any letter case and
/// order), from the top down, each once. Throws `error` for unknown names and an empty list.
[[nodiscard]] inline std::vector<const rung*> parse_rungs(std::string_view list) {
    std::vector<bool> wanted(std::size(rungs));
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = std::min(list.find(',', begin), list.size());
        const std::string_view name = list.substr(begin, end - begin);
        const recipe* meant = find_recipe(name);
        bool known = false;
        for (std::size_t i = 0; i < std::size(rungs); ++i) {
            if (qdial::detail::equal_ignoring_case(rungs[i].setting, name) ||
                (meant != nullptr && meant->name == rungs[i].recipe))
                wanted[i] = known = true;
        }
        if (!known) {
            std::string message = "unknown setting " + gguf::detail::quoted(name) + "; expected";
            for (const rung& candidate : rungs) message += " " + std::string(candidate.setting);
            throw error(message);
        }
        begin = end + 1;
    }
    std::vector<const rung*> chosen;
    for (std::size_t i = 0; i < std::size(rungs); ++i)
        if (wanted[i]) chosen.push_back(&rungs[i]);
    return chosen;
}

/// The index of the first rung whose memory fits, in bytes; nothing if none does.
/// `memory_bytes[i]` is what rung i takes, from the top of the dial down.
[[nodiscard]] constexpr std::optional<std::size_t> highest_rung_that_fits(
    std::span<const std::uint64_t> memory_bytes, std::uint64_t budget_bytes) noexcept {
    for (std::size_t i = 0; i < memory_bytes.size(); ++i)
        if (memory_bytes[i] <= budget_bytes) return i;
    return std::nullopt;
}

}  // namespace qdial::model
