// SPDX-License-Identifier: Apache-2.0
//
// The dial that a text or tasks decide: what was measured, the verdicts, the pick, and how they are
// shown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qdial/model/dial.hpp"
#include "qdial/model/text_quality.hpp"
#include "task_run.hpp"

namespace tool {

/// The share of cases that a pick may lose unless another limit is asked for.
inline constexpr double usual_pass_loss = 0.10;

/// What a setting must keep to; those that are there all hold.
struct quality_limits {
    std::optional<double> max_kl;         ///< nats per token
    std::optional<double> max_ppl_ratio;  ///< perplexity over the reference's
    std::optional<double> min_pass_rate, max_pass_loss;  ///< shares
    bool are_usual = false;                              ///< nobody asked for them
};

struct decided_rung {
    const qdial::model::rung* rung = nullptr;
    std::uint64_t file_bytes = 0, memory_bytes = 0;
    std::uint64_t running_bytes = 0;  ///< in the evaluation
    double bits_per_weight = 0;
    bool fits = false;
    bool is_reference = false;  ///< the source has these very types
    double prompt_speed = 0, generation_speed = 0;  ///< tokens per second; 0: not measured
    std::optional<qdial::model::text_quality> quality;
    std::optional<task_run> outcomes;
    std::optional<qdial::model::verdict> verdict;  ///< nothing if it was not judged
};

struct decided_dial {
    std::string name, work;  ///< the model's file, the text's or the tasks'
    bool by_text = false;
    std::uint64_t context = 0;  ///< tokens that memory is for
    std::size_t window = 0;     ///< tokens of a window of text
    std::uint64_t memory_bytes = 0;
    bool this_machine = false;
    std::string quantized_source;  ///< a format, if the source is quantized already
    quality_limits limits;
    std::optional<task_run> reference;
    std::vector<decided_rung> rungs;  ///< from the top down
    std::optional<std::size_t> pick;
};

[[nodiscard]] qdial::model::verdict judge_text(
    const qdial::model::text_quality& quality, const quality_limits& limits,
    double confidence = qdial::model::usual_confidence);
[[nodiscard]] qdial::model::verdict judge_tasks(const task_run& reference,
                                                const task_run& candidate,
                                                const quality_limits& limits);

/// Judges the reference and sets the pick.
void decide(decided_dial& result);

/// Why the pick is the pick, or why there is none; what could not be decided and what would decide
/// it; what else a user must know. One sentence or two each.
[[nodiscard]] std::vector<std::string> explanations(const decided_dial& result);

void print_text(const decided_dial& result);
void print_json(const decided_dial& result);
/// Quality against size with intervals, as an SVG document.
[[nodiscard]] std::string plot_of(const decided_dial& result);

}  // namespace tool
