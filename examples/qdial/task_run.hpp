// SPDX-License-Identifier: Apache-2.0
//
// Models at the cases of a tasks file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "qdial/model/statistics.hpp"
#include "tasks.hpp"
#include "threads.hpp"

namespace tool {

struct task_outcome {
    bool passed;
    std::string answer;  ///< what was marked: the text, or the chosen one of the choices
};

/// A model's outcomes.
struct task_run {
    std::vector<task_outcome> outcomes;  ///< one for each case
    double prompt_speed = 0, generation_speed = 0;  ///< tokens per second; 0 if not measured

    [[nodiscard]] std::size_t passed() const;
};

/// Lets a model do all cases, greedily: the same answers every time. With a `cache` folder,
/// outcomes are kept there and those of an earlier run taken from it; `key` stands for the cases.
/// Throws `qdial::error` for models without tokenizer and prompts that do not fit the context that
/// the model was trained for.
[[nodiscard]] task_run run_tasks(std::span<const task> tasks, const std::string& key,
                                 const std::filesystem::path& model, engine::thread_pool& threads,
                                 const std::filesystem::path& cache);

/// The longest context that a case needs with this model, in tokens.
[[nodiscard]] std::size_t context_of(std::span<const task> tasks,
                                     const std::filesystem::path& model);

/// How the outcomes of the reference and a candidate pair up.
[[nodiscard]] qdial::model::paired_counts pair_up(const task_run& reference,
                                                  const task_run& candidate);

}  // namespace tool
