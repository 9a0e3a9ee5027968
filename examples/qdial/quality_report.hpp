// SPDX-License-Identifier: Apache-2.0
//
// Measured quality as text and as JSON, for `eval` and `dial`.
#pragma once

#include <string>

#include "json.hpp"
#include "qdial/model/statistics.hpp"
#include "qdial/model/text_quality.hpp"
#include "task_run.hpp"

namespace tool {

/// Puts `key` and `key`_interval into an object; ends that are unknown become null.
void put(json& object, const std::string& key, const qdial::model::measurement& found);

/// kl_mean, kl_p90, kl_p99, kl_p999, kl_max, same_top, ppl, ppl_reference, ppl_ratio, the
/// intervals and what they come from.
void put_quality(json& object, const qdial::model::text_quality& quality);

/// pass_rate, pass_loss, their intervals, and the counts behind them.
void put_outcomes(json& object, const task_run& reference, const task_run& candidate);

/// "0.0283 (0.0270 to 0.0296)" with as many digits as the interval is worth; `scale` 100 for
/// percentages.
[[nodiscard]] std::string with_interval(const qdial::model::measurement& found, double scale = 1);
/// A number to about three digits.
[[nodiscard]] std::string short_number(double value);

}  // namespace tool
