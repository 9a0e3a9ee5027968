// SPDX-License-Identifier: Apache-2.0
//
// The dial: the settings between full quality and smallest size, and what each is good for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qdial/error.hpp"
#include "qdial/gguf/text.hpp"
#include "qdial/model/recipes.hpp"
#include "qdial/model/statistics.hpp"

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

/// Mean divergences from the unquantized model that plain words stand for.
struct quality_band {
    double most_kl;  ///< nats per token
    std::string_view words;
};

/// The words of the dial, set where people set them on an 8B model. llama.cpp's own table for
/// Llama 3 8B (tools/perplexity/README.md, "LLaMA 3 8b Scoreboard") has mean divergences of 0.0014
/// for Q8_0, 0.0055 for Q6_K, 0.011 for Q5_K_M, 0.031 for Q4_K_M, 0.10 for Q3_K_M and 0.45 for
/// Q2_K; the bounds lie about the geometric middle of neighbours. Smaller models lose more with the
/// same setting.
inline constexpr quality_band quality_bands[] = {
    {0.008, "near-identical"},
    {0.02, "slightly degraded"},
    {0.06, "noticeable"},
    {0.2, "visible"},
    {std::numeric_limits<double>::infinity(), "significant"},
};

/// The limit that a pick keeps to unless another is asked for: all that is at most "noticeable".
inline constexpr double usual_kl_limit = 0.06;

/// Plain words for a mean divergence, in nats per token.
[[nodiscard]] constexpr std::string_view words_for_kl(double mean_kl) noexcept {
    for (const quality_band& band : quality_bands)
        if (mean_kl <= band.most_kl) return band.words;
    return quality_bands[std::size(quality_bands) - 1].words;
}

/// The index of a setting whose error is far below that of one with more bits, from the top of the
/// dial down: the weights lie on its grid, so somebody quantized them before. Nothing if there is
/// none. Works on errors of weights and on divergences alike.
[[nodiscard]] constexpr std::optional<std::size_t> setting_of_the_past(
    std::span<const double> errors_down) noexcept {
    double most = 0;
    for (std::size_t i = 0; i < errors_down.size(); ++i) {
        if (errors_down[i] < most / 4) return i;
        most = errors_down[i] > most ? errors_down[i] : most;
    }
    return std::nullopt;
}

/// What is known about a rung when one is picked.
struct judged_rung {
    std::optional<verdict> quality;  ///< nothing if it was not evaluated
    bool fits;                       ///< into the memory
};

/// The lowest rung that passes and fits, from the top of the dial down; nothing if none does.
/// Rungs below one that fails do not count, even if they pass: they cannot be better, so that
/// was luck.
[[nodiscard]] constexpr std::optional<std::size_t> lowest_rung_that_passes(
    std::span<const judged_rung> rungs_down) noexcept {
    std::optional<std::size_t> pick;
    for (std::size_t i = 0; i < rungs_down.size(); ++i) {
        if (rungs_down[i].quality == verdict::fail) break;
        if (rungs_down[i].quality == verdict::pass && rungs_down[i].fits) pick = i;
    }
    return pick;
}

}  // namespace qdial::model
