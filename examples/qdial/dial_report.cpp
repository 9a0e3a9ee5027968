// SPDX-License-Identifier: Apache-2.0
#include "dial_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>

#include "json.hpp"
#include "plot.hpp"
#include "quality_report.hpp"
#include "tool.hpp"

namespace tool {

namespace model = qdial::model;
using model::verdict;

namespace {

/// All must pass; one failure fails.
verdict worse(verdict a, verdict b) { return static_cast<int>(a) > static_cast<int>(b) ? a : b; }
static_assert(verdict::pass < verdict::undecided && verdict::undecided < verdict::fail);

model::measurement pass_rate(const task_run& run, double confidence = model::usual_confidence) {
    return model::wilson(static_cast<double>(run.passed()),
                         static_cast<double>(run.outcomes.size()), confidence);
}

std::string in_words(verdict v) {
    return v == verdict::pass ? "passes" : v == verdict::fail ? "fails" : "undecided";
}

/// "mean KL at most 0.06".
std::string limits_text(const quality_limits& limits) {
    std::string out;
    const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
    if (limits.max_kl) add(fmt::format("mean KL divergence at most {:g}", *limits.max_kl));
    if (limits.max_ppl_ratio)
        add(fmt::format("perplexity at most {:g}% above the reference's",
                        100 * (*limits.max_ppl_ratio - 1)));
    if (limits.min_pass_rate)
        add(fmt::format("at least {:g}% of the cases passed", 100 * *limits.min_pass_rate));
    if (limits.max_pass_loss)
        add(fmt::format("at most {:g}% of the cases lost", 100 * *limits.max_pass_loss));
    return out;
}

/// The figures of a rung that the limits are about.
std::string figures(const decided_dial& result, const decided_rung& r) {
    std::string out;
    const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
    if (r.quality) {
        if (result.limits.max_kl) add("mean KL " + with_interval(r.quality->mean_kl()));
        if (result.limits.max_ppl_ratio)
            add("perplexity " + with_interval(r.quality->perplexity_ratio()) +
                " times the reference's");
    }
    if (r.outcomes) {
        if (result.limits.min_pass_rate)
            add("passes " + with_interval(pass_rate(*r.outcomes), 100) + " %");
        if (result.limits.max_pass_loss)
            add("loses " +
                with_interval(model::paired_loss(pair_up(*result.reference, *r.outcomes)), 100) +
                " % of the cases");
    }
    return out;
}

/// How many windows would decide, at the spread that was seen; nothing if none would.
std::optional<double> windows_needed(const decided_dial& result, const decided_rung& r) {
    std::optional<double> most;
    const auto need = [&](const model::measurement& m, double limit) {
        if (model::judge_at_most(m.range, limit) != verdict::undecided) return;
        const auto blocks = model::blocks_needed(m, r.quality->blocks(), limit);
        const double windows =
            blocks ? *blocks * static_cast<double>(r.quality->windows_per_block())
                   : std::numeric_limits<double>::infinity();
        most = std::max(most.value_or(0), windows);
    };
    if (result.limits.max_kl) need(r.quality->mean_kl(), *result.limits.max_kl);
    if (result.limits.max_ppl_ratio)
        need(r.quality->perplexity_ratio(), *result.limits.max_ppl_ratio);
    if (!most || std::isinf(*most)) return std::nullopt;
    return most;
}

/// How many cases of the same kind would decide.
std::optional<double> cases_needed(const decided_dial& result, const decided_rung& r) {
    const auto n = static_cast<double>(r.outcomes->outcomes.size());
    const model::paired_counts counts = pair_up(*result.reference, *r.outcomes);
    const auto passed = static_cast<double>(r.outcomes->passed());
    const auto factor = model::factor_needed([&](double f) {
        verdict v = verdict::pass;
        if (result.limits.max_pass_loss)
            v = worse(v, model::judge_at_most(model::paired_loss(counts.scaled(f)).range,
                                              *result.limits.max_pass_loss));
        if (result.limits.min_pass_rate)
            v = worse(v, model::judge_at_least(model::wilson(passed * f, n * f).range,
                                               *result.limits.min_pass_rate));
        return v != verdict::undecided;
    });
    if (!factor) return std::nullopt;
    return std::ceil(*factor * n);
}

std::string what_decides(const decided_dial& result, const decided_rung& r) {
    if (result.by_text) {
        const std::optional<double> windows = windows_needed(result, r);
        if (!windows && r.quality->blocks() < 2)
            return "one window gives no interval: give more text";
        if (!windows) return "the limit is its very value: no amount of text would decide";
        return fmt::format("about {:.0f} windows ({:.0f} tokens) like these would decide, {} were "
                           "read",
                           *windows, *windows * static_cast<double>(result.window),
                           r.quality->windows());
    }
    const std::optional<double> cases = cases_needed(result, r);
    if (!cases) return "no reasonable number of such cases would decide";
    return fmt::format("about {:.0f} cases like these would decide, {} were run", *cases,
                       r.outcomes->outcomes.size());
}

std::optional<std::size_t> first_failure(const decided_dial& result) {
    for (std::size_t i = 0; i < result.rungs.size(); ++i)
        if (result.rungs[i].verdict == verdict::fail) return i;
    return std::nullopt;
}

}  // namespace

verdict judge_text(const model::text_quality& quality, const quality_limits& limits,
                   double confidence) {
    verdict v = verdict::pass;
    if (limits.max_kl)
        v = worse(v, model::judge_at_most(quality.mean_kl(confidence).range, *limits.max_kl));
    if (limits.max_ppl_ratio)
        v = worse(v, model::judge_at_most(quality.perplexity_ratio(confidence).range,
                                          *limits.max_ppl_ratio));
    return v;
}

verdict judge_tasks(const task_run& reference, const task_run& candidate,
                    const quality_limits& limits) {
    verdict v = verdict::pass;
    if (limits.min_pass_rate)
        v = worse(v, model::judge_at_least(pass_rate(candidate).range, *limits.min_pass_rate));
    // A model that gives the reference's outcomes because it is the reference loses nothing.
    if (limits.max_pass_loss && &reference != &candidate)
        v = worse(v, model::judge_at_most(
                         model::paired_loss(pair_up(reference, candidate)).range,
                         *limits.max_pass_loss));
    return v;
}

void decide(decided_dial& result) {
    for (decided_rung& r : result.rungs)
        if (r.is_reference)
            r.verdict = result.by_text
                            ? verdict::pass
                            : judge_tasks(*result.reference, *result.reference, result.limits);
    std::vector<model::judged_rung> judged;
    for (const decided_rung& r : result.rungs) judged.push_back({r.verdict, r.fits});
    result.pick = model::lowest_rung_that_passes(judged);
}

namespace {

std::string why_this(const decided_dial& result) {
    if (!result.pick) {
        const bool any_fits = std::ranges::any_of(result.rungs, &decided_rung::fits);
        if (!any_fits)
            return "Pick: none. No setting fits into the memory; take a smaller model, a shorter "
                   "context or more memory.";
        return "Pick: none. No setting that fits passes for certain (" +
               limits_text(result.limits) + ").";
    }
    const decided_rung& r = result.rungs[*result.pick];
    std::string out = fmt::format("Pick: {}, the lowest setting that passes: ", r.rung->setting);
    out += r.is_reference && result.by_text ? "it is the reference itself"
                                            : figures(result, r);
    out += fmt::format(" ({}{}).", limits_text(result.limits),
                       result.limits.are_usual ? ", the limit where no other is given" : "");
    return out;
}

void add_notes(const decided_dial& result, std::vector<std::string>& out) {
    if (!result.quantized_source.empty())
        out.push_back(fmt::format(
            "The model is quantized already ({}): quality is relative to it as it is, not to the "
            "model it was made from.",
            result.quantized_source));
    std::vector<double> divergences;
    std::vector<std::string_view> names;
    for (const decided_rung& r : result.rungs) {
        if (!r.quality || r.quality->blocks() == 0) continue;
        divergences.push_back(r.quality->mean_kl().value);
        names.push_back(r.rung->setting);
    }
    if (const auto former = model::setting_of_the_past(divergences))
        out.push_back(fmt::format(
            "{0} is closer than settings with more bits: these weights seem to have been {0} "
            "before, so its figures say little about {0} of the original model. Measure on that "
            "if you can.",
            names[*former]));
}

}  // namespace

std::vector<std::string> explanations(const decided_dial& result) {
    std::vector<std::string> out{why_this(result)};
    for (std::size_t i = 0; i < result.rungs.size(); ++i) {
        const decided_rung& r = result.rungs[i];
        if (r.verdict == verdict::undecided)
            out.push_back(fmt::format("Cannot decide about {}: {}; {}.", r.rung->setting,
                                      figures(result, r), what_decides(result, r)));
    }
    if (const auto failed = first_failure(result)) {
        const decided_rung& r = result.rungs[*failed];
        out.push_back(fmt::format("{} fails: {}.", r.rung->setting, figures(result, r)));
        if (*failed + 1 < result.rungs.size() && !result.rungs.back().verdict)
            out.push_back("Settings below it were not measured to the end; --all does that.");
    }
    add_notes(result, out);
    return out;
}

namespace {

std::string speed_text(double speed) { return speed > 0 ? fmt::format("{:.0f}", speed) : ""; }

std::string verdict_text(const decided_dial& result, std::size_t i) {
    const decided_rung& r = result.rungs[i];
    std::string out = r.is_reference && result.by_text ? "reference"
                      : r.verdict                      ? in_words(*r.verdict)
                      : !r.fits                        ? "not run"
                                                       : "below one that fails";
    if (!r.fits) out += ", does not fit";
    return i == result.pick ? out + "  <- pick" : out;
}

void print_rows(const decided_dial& result) {
    std::vector<table::column> columns{{"setting", false}, {"file MiB"},  {"memory MiB"},
                                       {"reads tok/s"},    {"writes tok/s"}};
    if (result.by_text)
        columns.insert(columns.end(), {{"mean KL (95% interval)"}, {"same top"}, {"perplexity"}});
    else
        columns.insert(columns.end(), {{"passed"}, {"lost"}, {"won"}, {"loss % (95% interval)"}});
    columns.push_back({"verdict", false});
    if (result.by_text) columns.push_back({"in words", false});
    table lines(columns);
    for (std::size_t i = 0; i < result.rungs.size(); ++i) {
        const decided_rung& r = result.rungs[i];
        std::vector<std::string> cells{std::string(r.rung->setting), mebibytes(r.file_bytes),
                                       mebibytes(r.memory_bytes), speed_text(r.prompt_speed),
                                       speed_text(r.generation_speed)};
        if (result.by_text && r.quality && r.quality->windows() != 0) {
            const double ratio = r.quality->perplexity_ratio().value;
            cells.insert(cells.end(),
                         {with_interval(r.quality->mean_kl()),
                          fmt::format("{:.1f}%", 100 * r.quality->same_top().value),
                          fmt::format("{:+.2f}%", 100 * (ratio - 1))});
        } else if (!result.by_text && r.outcomes) {
            const model::paired_counts counts = pair_up(*result.reference, *r.outcomes);
            cells.insert(cells.end(),
                         {fmt::format("{} of {}", r.outcomes->passed(), r.outcomes->outcomes.size()),
                          fmt::format("{:.0f}", counts.only_reference),
                          fmt::format("{:.0f}", counts.only_candidate),
                          r.is_reference ? "0"
                                         : with_interval(model::paired_loss(counts), 100)});
        } else {
            cells.resize(columns.size() - (result.by_text ? 2 : 1));
            if (r.is_reference) cells[5] = "0";
        }
        cells.push_back(verdict_text(result, i));
        if (result.by_text)
            cells.emplace_back(r.is_reference ? "the model as it is"
                               : r.quality && r.quality->windows() != 0
                                   ? model::words_for_kl(r.quality->mean_kl().value)
                                   : "");
        lines.add(std::move(cells));
    }
    lines.print();
}

}  // namespace

void print_text(const decided_dial& result) {
    fmt::print("{} on {}\n", printable(result.name), printable(result.work));
    if (result.by_text) {
        std::size_t windows = 0;
        for (const decided_rung& r : result.rungs)
            if (r.quality) windows = std::max(windows, r.quality->windows());
        fmt::print("{} windows of {} tokens, the second half of each scored\n", windows,
                   result.window);
    } else {
        fmt::print("{} cases, {} passed by the model as it is\n",
                   result.reference->outcomes.size(), result.reference->passed());
    }
    fmt::print("Memory for the model: {}, {}; with a context of {} tokens\n\n",
               human_bytes(static_cast<double>(result.memory_bytes)),
               result.this_machine ? "what this machine's system can spare (--memory names another)"
                                   : "as given by --memory",
               result.context);
    print_rows(result);
    fmt::print("\n");
    for (const std::string& line : explanations(result)) fmt::print("{}\n", line);
}

void print_json(const decided_dial& result) {
    json settings = json::array();
    for (const decided_rung& r : result.rungs) {
        json one{{"setting", r.rung->setting},
                 {"recipe", r.rung->recipe},
                 {"file_bytes", r.file_bytes},
                 {"bits_per_weight", r.bits_per_weight},
                 {"memory_bytes", r.memory_bytes},
                 {"fits", r.fits},
                 {"is_reference", r.is_reference},
                 {"verdict", r.verdict ? json(in_words(*r.verdict)) : json()},
                 {"prompt_tokens_per_second", r.prompt_speed > 0 ? json(r.prompt_speed) : json()},
                 {"generated_tokens_per_second",
                  r.generation_speed > 0 ? json(r.generation_speed) : json()}};
        if (r.quality && r.quality->windows() != 0) put_quality(one, *r.quality);
        if (r.outcomes) put_outcomes(one, *result.reference, *r.outcomes);
        if (r.verdict == verdict::undecided) {
            const auto needed =
                result.by_text ? windows_needed(result, r) : cases_needed(result, r);
            one[result.by_text ? "windows_needed" : "cases_needed"] =
                needed ? json(*needed) : json();
        }
        settings.push_back(std::move(one));
    }
    const auto optional = [](const std::optional<double>& value) {
        return value ? json(*value) : json();
    };
    json pick;
    if (result.pick) pick = result.rungs[*result.pick].rung->setting;
    print({{"model", result.name},
           {result.by_text ? "text" : "tasks", result.work},
           {"context", result.context},
           {"window", result.window},
           {"memory_bytes", result.memory_bytes},
           {"memory_is_this_machines", result.this_machine},
           {"source_quantized_as", result.quantized_source},
           {"limits",
            {{"max_kl", optional(result.limits.max_kl)},
             {"max_ppl_ratio", optional(result.limits.max_ppl_ratio)},
             {"min_pass_rate", optional(result.limits.min_pass_rate)},
             {"max_pass_loss", optional(result.limits.max_pass_loss)}}},
           {"settings", std::move(settings)},
           {"pick", std::move(pick)},
           {"notes", explanations(result)}});
}

std::string plot_of(const decided_dial& result) {
    std::vector<quality_point> points;
    for (const decided_rung& r : result.rungs) {
        quality_point p{std::string(r.rung->setting),
                        static_cast<double>(r.file_bytes) / (1 << 20), 0, 0, 0};
        model::measurement m{0, {0, 0}};
        if (r.quality && r.quality->windows() != 0)
            m = r.quality->mean_kl();
        else if (r.outcomes && !r.is_reference)
            m = model::paired_loss(pair_up(*result.reference, *r.outcomes));
        else if (!r.is_reference)
            continue;
        const double scale = result.by_text ? 1 : 100;
        p.value = scale * m.value;
        p.low = scale * (std::isfinite(m.range.low) ? m.range.low : m.value);
        p.high = scale * (std::isfinite(m.range.high) ? m.range.high : m.value);
        points.push_back(p);
    }
    std::optional<double> limit = result.limits.max_kl;
    if (!result.by_text && result.limits.max_pass_loss) limit = 100 * *result.limits.max_pass_loss;
    return quality_plot_svg("The dial of " + std::filesystem::path(result.name).filename().string() +
                                " on " +
                                std::filesystem::path(result.work).filename().string(),
                            result.by_text ? "mean KL divergence (lower is better)"
                                           : "cases lost in % (lower is better)",
                            std::move(points), limit);
}

}  // namespace tool
