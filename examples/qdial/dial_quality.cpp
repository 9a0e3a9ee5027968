// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "dial.hpp"
#include "dial_report.hpp"
#include "evaluation.hpp"
#include "kernels.hpp"
#include "qdial/gguf/atomic_file.hpp"
#include "qdial/model/convert.hpp"
#include "qdial/model/estimate.hpp"
#include "quality_report.hpp"
#include "task_run.hpp"

namespace tool {
namespace {

namespace model = qdial::model;

/// What the user asked for, or the usual limit.
quality_limits limits_of(const dial_options& options) {
    quality_limits limits;
    const bool by_text = !options.text.empty();
    if (by_text ? options.min_pass_rate || options.max_pass_loss
                : options.max_kl || options.max_ppl_increase)
        throw usage_error(by_text ? "dial: limits of pass rates need --tasks"
                                  : "dial: limits of divergence and perplexity need --text");
    limits.max_kl = options.max_kl;
    if (options.max_ppl_increase) limits.max_ppl_ratio = 1 + *options.max_ppl_increase / 100;
    if (options.min_pass_rate) limits.min_pass_rate = *options.min_pass_rate / 100;
    if (options.max_pass_loss) limits.max_pass_loss = *options.max_pass_loss / 100;
    limits.are_usual = !limits.max_kl && !limits.max_ppl_ratio && !limits.min_pass_rate &&
                       !limits.max_pass_loss;
    if (limits.are_usual && by_text) limits.max_kl = model::usual_kl_limit;
    if (limits.are_usual && !by_text) limits.max_pass_loss = usual_pass_loss;
    return limits;
}

/// The dial while it is measured.
class quality_dial {
public:
    explicit quality_dial(const dial_options& options)
        : options_(options), source_(options.file), threads_(options.threads) {
        if (!options.imatrix.empty()) importance_.emplace(options.imatrix);
    }

    decided_dial run() {
        const std::vector<const model::rung*> rungs = as_usage([&] {
            return options_.settings.empty() ? model::standard_rungs()
                                             : model::parse_rungs(options_.settings);
        });
        result_.limits = limits_of(options_);
        if (!options_.tasks.empty()) tasks_ = read_tasks(options_.tasks);
        if (!options_.text.empty())
            text_.emplace(
                read_text(options_.text, options_.file, options_.window, options_.chunks));
        plan(rungs);
        clean_up_on_signals();
        engine::thread_pool threads(static_cast<std::size_t>(options_.threads));
        text_ ? measure_on_text(threads) : measure_on_tasks(threads);
        decide(result_);
        return std::move(result_);
    }

private:
    void plan(const std::vector<const model::rung*>& rungs) {
        const model::architecture arch = model::architecture_from(source_.metadata());
        result_.name = source_.name();
        result_.work = text_ ? options_.text : options_.tasks;
        result_.by_text = text_.has_value();
        result_.context = options_.context != 0 ? options_.context : model::default_context(arch);
        result_.window = options_.window;
        result_.this_machine = options_.memory.empty();
        result_.memory_bytes = result_.this_machine
                                   ? model::usable_memory(memory_of_this_machine())
                                   : parse_size(options_.memory);
        result_.quantized_source = quantized_format_of(source_);
        evaluation_context_ = text_ ? options_.window : context_of(tasks_, options_.file);
        for (const model::rung* rung : rungs) {
            const model::conversion job = conversion_to(*rung);
            const auto estimate = model::estimate_recipe(model::get_recipe(rung->recipe), arch,
                                                         source_.shapes(), result_.context);
            decided_rung r;
            r.rung = rung;
            r.file_bytes = job.layout().file_bytes();
            r.bits_per_weight = job.plan().bits_per_weight();
            r.memory_bytes = estimate.memory_bytes;
            r.fits = r.memory_bytes <= result_.memory_bytes;
            r.is_reference = is_source(job);
            r.running_bytes = running_memory(r.file_bytes, arch, evaluation_context_);
            result_.rungs.push_back(std::move(r));
        }
        reference_bytes_ = running_memory(std::filesystem::file_size(options_.file), arch,
                                          evaluation_context_);
        check_room();
    }

    /// Before anything is started: the reference and the largest setting must run together.
    void check_room() const {
        std::uint64_t most = 0;
        for (const decided_rung& r : result_.rungs)
            if (wanted(r)) most = std::max(most, r.running_bytes);
        const std::uint64_t needed = reference_bytes_ + (text_ ? most : 0);
        const std::uint64_t available = available_memory();
        if (needed > available)
            throw qdial::error(fmt::format(
                "{}: not enough memory to evaluate: the model and its largest setting together "
                "take about {}, {} is there",
                options_.file, human_bytes(static_cast<double>(needed)),
                human_bytes(static_cast<double>(available))));
    }

    [[nodiscard]] model::conversion conversion_to(const model::rung& rung) const {
        model::plan_options options;
        options.allow_requantize = true;
        return model::conversion(source_, source_.name(), model::get_recipe(rung.recipe), options,
                                 importance_ ? &*importance_ : nullptr);
    }

    /// Whether a conversion keeps every tensor as it is.
    [[nodiscard]] bool is_source(const model::conversion& job) const {
        return std::ranges::all_of(job.plan().tensors, [&](const model::planned_tensor& planned) {
            return planned.format == source_.shapes()[planned.source].format;
        });
    }

    /// What does not fit cannot be picked, so it is not worth the time.
    [[nodiscard]] bool wanted(const decided_rung& r) const {
        return !r.is_reference && (r.fits || options_.all);
    }

    /// The file of a setting: made, or found in the cache.
    std::filesystem::path file_of(const model::rung& rung, scratch_folder* scratch) {
        const std::string stem = std::filesystem::path(options_.file).stem().string();
        std::string id = fingerprint(options_.file);
        if (!options_.imatrix.empty()) id = fingerprint_of(id + fingerprint(options_.imatrix));
        const std::string name = fmt::format("{}-{}-{}.gguf", stem, id, rung.recipe);
        const std::filesystem::path path =
            scratch != nullptr ? scratch->file(name) : std::filesystem::path(options_.cache) / name;
        if (std::filesystem::exists(path)) return path;
        if (scratch == nullptr) std::filesystem::create_directories(options_.cache);
        const model::conversion job = conversion_to(rung);
        progress_display progress;
        qdial::gguf::atomic_file out(
            path, {.overwrite = true, .expected_bytes = job.layout().file_bytes()});
        convert(
            job, [&](std::span<const std::byte> bytes) { out.write(bytes); }, threads_,
            [&](const model::conversion_progress& state) {
                progress.show(state.done, state.total);
            });
        source_.check_unchanged();
        out.commit();
        return path;
    }

    /// From rung `begin` on, as many as can run beside the reference.
    [[nodiscard]] std::vector<std::size_t> group_from(std::size_t begin) const {
        std::vector<std::size_t> group;
        std::uint64_t left = available_memory() / 8 * 7;
        left -= std::min(left, reference_bytes_);
        for (std::size_t i = begin; i < result_.rungs.size(); ++i) {
            const decided_rung& r = result_.rungs[i];
            if (!wanted(r)) continue;
            if (!group.empty() && r.running_bytes > left) break;
            left -= std::min(left, r.running_bytes);
            group.push_back(i);
        }
        return group;
    }

    void measure_on_text(engine::thread_pool& threads) {
        for (std::size_t begin = 0; begin < result_.rungs.size();) {
            const std::vector<std::size_t> group = group_from(begin);
            if (group.empty() && begin != 0) break;
            measure_group(group, threads);
            begin = group.empty() ? result_.rungs.size() : group.back() + 1;
            if (!options_.all && any_fails()) break;
        }
    }

    void measure_group(const std::vector<std::size_t>& group, engine::thread_pool& threads) {
        std::optional<scratch_folder> scratch;
        if (options_.cache.empty()) scratch.emplace();
        std::vector<candidate> candidates(group.size());
        for (std::size_t k = 0; k < group.size(); ++k) {
            const model::rung& rung = *result_.rungs[group[k]].rung;
            candidates[k].name = rung.setting;
            candidates[k].path = file_of(rung, scratch ? &*scratch : nullptr);
        }
        evaluation_options how;
        how.cache = options_.cache;
        how.measure_speed = true;
        if (!options_.all)
            how.stop = [&](std::span<candidate> all, std::size_t i) { return fails(all, i); };
        const candidate own = evaluate_text(*text_, options_.file, candidates, threads, how);
        for (decided_rung& r : result_.rungs) {
            if (!r.is_reference) continue;
            r.prompt_speed = own.prompt_speed;
            r.generation_speed = own.generation_speed;
        }
        for (std::size_t k = 0; k < group.size(); ++k) {
            decided_rung& r = result_.rungs[group[k]];
            r.prompt_speed = candidates[k].prompt_speed;
            r.generation_speed = candidates[k].generation_speed;
            if (candidates[k].quality.windows() == 0) continue;
            r.quality = std::move(candidates[k].quality);
            // What was ended because of a setting above is not judged on the little it read.
            if (!options_.all && any_fails()) continue;
            r.verdict = judge_text(*r.quality, result_.limits);
        }
    }

    /// Ends a candidate that surely fails, and those below. Looked at rarely and at a higher
    /// confidence: every look is another chance to be wrong.
    bool fails(std::span<candidate> all, std::size_t index) const {
        const std::size_t windows = all[index].quality.windows();
        constexpr std::size_t first_look = 8;
        if (windows < first_look || !std::has_single_bit(windows)) return false;
        constexpr double confidence = 0.99;
        if (judge_text(all[index].quality, result_.limits, confidence) != model::verdict::fail)
            return false;
        for (std::size_t i = index + 1; i < all.size(); ++i) all[i].stopped = true;
        return true;
    }

    [[nodiscard]] bool any_fails() const {
        return std::ranges::any_of(result_.rungs, [](const decided_rung& r) {
            return r.verdict == model::verdict::fail;
        });
    }

    void measure_on_tasks(engine::thread_pool& threads) {
        const std::string key = fingerprint_of(read_whole(options_.tasks));
        result_.reference = run_tasks(tasks_, key, options_.file, threads, options_.cache);
        for (decided_rung& r : result_.rungs) {
            if (r.is_reference) {
                r.outcomes = result_.reference;
            } else if (wanted(r)) {
                std::optional<scratch_folder> scratch;
                if (options_.cache.empty()) scratch.emplace();
                const auto path = file_of(*r.rung, scratch ? &*scratch : nullptr);
                r.outcomes = run_tasks(tasks_, key, path, threads, options_.cache);
            } else {
                continue;
            }
            r.prompt_speed = r.outcomes->prompt_speed;
            r.generation_speed = r.outcomes->generation_speed;
            r.verdict = judge_tasks(*result_.reference, *r.outcomes, result_.limits);
            if (!options_.all && r.verdict == model::verdict::fail) break;
        }
    }

    const dial_options& options_;
    model::model_source source_;
    thread_pool threads_;
    std::optional<model::importance_matrix> importance_;
    std::optional<text_input> text_;
    std::vector<task> tasks_;
    std::size_t evaluation_context_ = 0;
    std::uint64_t reference_bytes_ = 0;
    decided_dial result_;
};

}  // namespace

void dial_by_quality(const dial_options& options) {
    if (!options.text.empty() && !options.tasks.empty())
        throw usage_error("dial: expected --text or --tasks, found both");
    if (!options.plot.empty()) {
        const std::vector<std::filesystem::path> inputs{
            options.file, options.text.empty() ? options.tasks : options.text};
        refuse_same_file(options.plot, inputs);
    }
    const decided_dial result = quality_dial(options).run();
    options.as_json ? print_json(result) : print_text(result);
    if (options.plot.empty()) return;
    const std::string svg = plot_of(result);
    qdial::gguf::atomic_file out(options.plot, {.overwrite = true, .expected_bytes = svg.size()});
    out.write(std::as_bytes(std::span(svg)));
    out.commit();
}

}  // namespace tool
