// SPDX-License-Identifier: Apache-2.0
#include "quality_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "qdial/model/dial.hpp"

namespace tool {

namespace model = qdial::model;

namespace {

json end_of(double value) { return std::isfinite(value) ? json(value) : json(); }

}  // namespace

void put(json& object, const std::string& key, const model::measurement& found) {
    object[key] = end_of(found.value);
    object[key + "_interval"] = {end_of(found.range.low), end_of(found.range.high)};
}

void put_quality(json& object, const model::text_quality& quality) {
    put(object, "kl_mean", quality.mean_kl());
    put(object, "kl_p90", quality.kl_percentile(0.90));
    put(object, "kl_p99", quality.kl_percentile(0.99));
    put(object, "kl_p999", quality.kl_percentile(0.999));
    object["kl_max"] = quality.max_kl();
    put(object, "same_top", quality.same_top());
    put(object, "ppl", quality.perplexity());
    put(object, "ppl_reference", quality.reference_perplexity());
    put(object, "ppl_ratio", quality.perplexity_ratio());
    object["in_words"] = model::words_for_kl(quality.mean_kl().value);
    object["windows"] = quality.windows();
    object["tokens_scored"] = quality.tokens();
    object["blocks"] = quality.blocks();
    object["windows_per_block"] = quality.windows_per_block();
    object["confidence"] = model::usual_confidence;
}

void put_outcomes(json& object, const task_run& reference, const task_run& candidate) {
    const auto n = static_cast<double>(candidate.outcomes.size());
    const model::paired_counts counts = pair_up(reference, candidate);
    put(object, "pass_rate", model::wilson(static_cast<double>(candidate.passed()), n));
    put(object, "pass_rate_reference", model::wilson(static_cast<double>(reference.passed()), n));
    put(object, "pass_loss", model::paired_loss(counts));
    object["cases"] = candidate.outcomes.size();
    object["passed"] = candidate.passed();
    object["passed_reference"] = reference.passed();
    object["lost"] = static_cast<std::size_t>(counts.only_reference);
    object["won"] = static_cast<std::size_t>(counts.only_candidate);
    object["mcnemar_p"] =
        model::mcnemar_exact(static_cast<std::uint64_t>(counts.only_reference),
                             static_cast<std::uint64_t>(counts.only_candidate));
    object["confidence"] = model::usual_confidence;
}

std::string short_number(double value) {
    if (value == 0 || !std::isfinite(value)) return fmt::format("{:g}", value);
    const double size = std::floor(std::log10(std::abs(value)));
    return fmt::format("{:.{}f}", value, static_cast<int>(std::clamp(2 - size, 0.0, 9.0)));
}

std::string with_interval(const model::measurement& found, double scale) {
    const double reach = scale * (found.range.high - found.range.low) / 2;
    const double value = scale * found.value;
    if (!std::isfinite(reach)) return short_number(value) + " (one block: no interval)";
    // Two digits of the interval's half width.
    const double size = reach > 0 ? std::floor(std::log10(reach)) : 0;
    const int digits = static_cast<int>(std::clamp(1 - size, 0.0, 9.0));
    return fmt::format("{:.{}f} ({:.{}f} to {:.{}f})", value, digits, scale * found.range.low,
                       digits, scale * found.range.high, digits);
}

}  // namespace tool
