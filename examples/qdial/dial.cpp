// SPDX-License-Identifier: Apache-2.0
#include "qdial/model/dial.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "commands.hpp"
#include "dial.hpp"
#include "json.hpp"
#include "kernels.hpp"
#include "plot.hpp"
#include "qdial/gguf/atomic_file.hpp"
#include "qdial/model/estimate.hpp"
#include "speed.hpp"

namespace tool {
namespace {

namespace model = qdial::model;

/// Everything about one setting of the dial.
struct setting {
    const model::rung* rung;
    std::uint64_t file_bytes;
    double bits_per_weight;
    std::size_t fallbacks;
    std::uint64_t memory_bytes;
    model::weight_error error;
    std::string worst_tensor;
    double worst_error = 0;
    double speed = 1;
};

struct measured_dial {
    std::string name;
    std::uint64_t context;
    std::uint64_t memory_bytes;  ///< that the model may take
    bool this_machine;
    std::string quantized_source;  ///< a format, if the source is quantized already
    std::vector<setting> settings;
    std::optional<std::size_t> pick;
};

/// The errors of the settings' weights: of all matrices, as the vectors beside them (norms, biases)
/// keep their type and, being large, would hide any error. Every matrix is read once, for all
/// formats that any setting gives it.
void measure_errors(const model::model_source& source,
                    const std::vector<model::quantization_plan>& plans, thread_pool& threads,
                    std::vector<setting>& settings) {
    progress_display progress;
    std::uint64_t done = 0, total = 0;
    for (const model::source_tensor& entry : source.tensors()) total += entry.tensor->data.size();
    // The plans list the tensors in the same order, that of the quantized file.
    for (std::size_t t = 0; t < source.tensors().size(); ++t) {
        const std::size_t index = plans[0].tensors[t].source;
        const model::source_tensor& from = source.tensors()[index];
        done += from.tensor->data.size();
        if (!model::may_be_quantized(source.shapes()[index])) continue;
        std::set<std::uint32_t> formats;
        for (const model::quantization_plan& plan : plans) formats.insert(plan.tensors[t].format);
        const std::vector<std::uint32_t> list(formats.begin(), formats.end());
        const auto errors = encoding_errors(from, list, threads);
        if (!std::isfinite(errors[0].squared_reference))
            throw qdial::error(from.file->name() + ": tensor " +
                               qdial::gguf::detail::quoted(from.tensor->name) +
                               ": found NaN or infinite weights, expected finite ones");
        for (std::size_t i = 0; i < settings.size(); ++i) {
            const auto at = std::ranges::find(list, plans[i].tensors[t].format) - list.begin();
            const model::weight_error& error = errors[static_cast<std::size_t>(at)];
            settings[i].error += error;
            if (error.relative_rmse() > settings[i].worst_error) {
                settings[i].worst_error = error.relative_rmse();
                settings[i].worst_tensor = from.tensor->name;
            }
        }
        progress.show(done, total);
    }
}

measured_dial measure(const dial_options& options, const std::vector<const model::rung*>& rungs) {
    const model::model_source source(options.file);
    const model::architecture arch = model::architecture_from(source.metadata());
    measured_dial result;
    result.name = source.name();
    result.context = options.context != 0 ? options.context : model::default_context(arch);
    result.this_machine = options.memory.empty();
    result.memory_bytes = result.this_machine ? model::usable_memory(memory_of_this_machine())
                                              : parse_size(options.memory);
    result.quantized_source = quantized_format_of(source);

    model::plan_options plan_options;
    plan_options.allow_requantize = true;
    std::vector<model::quantization_plan> plans;
    std::vector<std::uint64_t> memory;
    for (const model::rung* rung : rungs) {
        const model::recipe& recipe = model::get_recipe(rung->recipe);
        const model::conversion job(source, source.name(), recipe, plan_options);
        const auto estimate = model::estimate_recipe(recipe, arch, source.shapes(), result.context);
        plans.push_back(job.plan());
        memory.push_back(estimate.memory_bytes);
        result.settings.push_back({rung,
                                   job.layout().file_bytes(),
                                   job.plan().bits_per_weight(),
                                   job.plan().fallbacks,
                                   estimate.memory_bytes,
                                   {},
                                   {}});
    }
    result.pick = model::highest_rung_that_fits(memory, result.memory_bytes);

    thread_pool threads(options.threads);
    measure_errors(source, plans, threads, result.settings);
    const auto speeds = measure_speeds(source, plans, threads);
    for (std::size_t i = 0; i < plans.size(); ++i)
        result.settings[i].speed = speed_of(plans[i], source.shapes(), speeds);
    return result;
}

/// The setting that the weights seem to have been quantized with before they became floats again.
/// Null if there is none.
const setting* former_setting(const measured_dial& result) {
    std::vector<double> errors;
    for (const setting& s : result.settings) errors.push_back(s.error.relative_rmse());
    const std::optional<std::size_t> found = model::setting_of_the_past(errors);
    return found ? &result.settings[*found] : nullptr;
}

constexpr std::string_view caution =
    "Weight error says how far the weights moved, not how good the answers are, so this is not a "
    "decision: give --text or --tasks of your own work for one.";

void print_json(const measured_dial& result) {
    json settings = json::array();
    for (const setting& s : result.settings)
        settings.push_back({{"setting", s.rung->setting},
                            {"recipe", s.rung->recipe},
                            {"file_bytes", s.file_bytes},
                            {"bits_per_weight", s.bits_per_weight},
                            {"fallbacks", s.fallbacks},
                            {"relative_rmse", s.error.relative_rmse()},
                            {"worst_tensor", s.worst_tensor},
                            {"worst_relative_rmse", s.worst_error},
                            {"speed_vs_fp16", s.speed},
                            {"memory_bytes", s.memory_bytes},
                            {"fits", s.memory_bytes <= result.memory_bytes},
                            {"advice", s.rung->advice}});
    json pick, former;
    if (const setting* found = former_setting(result)) former = found->rung->setting;
    if (result.pick) pick = result.settings[*result.pick].rung->setting;
    print({{"model", result.name},
           {"context", result.context},
           {"memory_bytes", result.memory_bytes},
           {"memory_is_this_machines", result.this_machine},
           {"source_quantized_as", result.quantized_source},
           {"source_seems_to_come_from", std::move(former)},
           {"settings", std::move(settings)},
           {"pick", std::move(pick)},
           {"note", caution}});
}

void print_table(const measured_dial& result) {
    table lines({{"setting", false},
                 {"file MiB"},
                 {"bits/weight"},
                 {"weight error"},
                 {"worst tensor", false},
                 {"", true},
                 {"speed"},
                 {"memory MiB"},
                 {"fits", false}});
    for (std::size_t i = 0; i < result.settings.size(); ++i) {
        const setting& s = result.settings[i];
        lines.add({std::string(s.rung->setting), mebibytes(s.file_bytes),
                   fmt::format("{:.2f}", s.bits_per_weight),
                   fmt::format("{:.2f}%", 100 * s.error.relative_rmse()), printable(s.worst_tensor),
                   s.worst_tensor.empty() ? "" : fmt::format("{:.2f}%", 100 * s.worst_error),
                   fmt::format("{:.2f}x", s.speed), mebibytes(s.memory_bytes),
                   i == result.pick                        ? "yes  <- pick"
                   : s.memory_bytes <= result.memory_bytes ? "yes"
                                                           : "no"});
    }
    lines.print();
}

void print_text(const measured_dial& result) {
    fmt::print("{}, context {} tokens\n", printable(result.name), result.context);
    fmt::print("Memory for the model: {}, {}\n\n",
               human_bytes(static_cast<double>(result.memory_bytes)),
               result.this_machine ? "what this machine's system can spare (--memory names another)"
                                   : "as given by --memory");
    print_table(result);
    fmt::print("\n");
    table advice({{"setting", false}, {"what it means", false}});
    for (const setting& s : result.settings)
        advice.add({std::string(s.rung->setting), std::string(s.rung->advice)});
    advice.print();
    if (result.pick) {
        const setting& s = result.settings[*result.pick];
        fmt::print("\nPick: {}, the highest setting that fits: {}.\n", s.rung->setting,
                   s.rung->advice);
    } else {
        fmt::print(
            "\nPick: none. No setting fits; take a smaller model, a shorter context or "
            "more memory.\n");
    }
    fmt::print(
        "{}\nError is relative to the root mean square of all matrices' weights; speed is of "
        "matrix-vector products on this machine, against FP16.\n",
        caution);
    if (!result.quantized_source.empty())
        fmt::print("The model is quantized already ({}): errors come on top of those it has.\n",
                   result.quantized_source);
    if (const setting* former = former_setting(result))
        fmt::print(
            "{0} shows an error below that of settings with more bits: these weights seem to have "
            "been {0} before. Measure on the original model if you can.\n",
            former->rung->setting);
    std::string fallbacks;
    for (const setting& s : result.settings)
        if (s.fallbacks != 0) fallbacks += fmt::format(" {} {}", s.rung->setting, s.fallbacks);
    if (!fallbacks.empty())
        fmt::print("Tensors that fall back to other formats, as their rows do not divide:{}\n",
                   fallbacks);
}

void write_plot(const measured_dial& result, const dial_options& options) {
    std::vector<plot_point> points;
    for (const setting& s : result.settings)
        points.push_back({std::string(s.rung->setting),
                          static_cast<double>(s.file_bytes) / (1 << 20),
                          100 * s.error.relative_rmse(), s.speed});
    const std::string svg = plot_svg(
        "The dial of " + std::filesystem::path(result.name).filename().string(), std::move(points));
    qdial::gguf::atomic_file out(options.plot, {.overwrite = true, .expected_bytes = svg.size()});
    out.write(std::as_bytes(std::span(svg)));
    out.commit();
}

}  // namespace

std::uint64_t memory_of_this_machine() {
    return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
           static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string quantized_format_of(const model::model_source& source) {
    std::map<std::uint32_t, std::uint64_t> weights;
    for (const model::tensor_shape& shape : source.shapes())
        weights[shape.format] += shape.elements();
    const auto most =
        std::ranges::max_element(weights, {}, [](const auto& entry) { return entry.second; });
    if (most == weights.end() || qdial::find_format(most->first)->is_float) return {};
    return model::format_name(most->first);
}

void dial(const dial_options& options) {
    if (!options.text.empty() || !options.tasks.empty()) return dial_by_quality(options);
    if (options.max_kl || options.max_ppl_increase || options.min_pass_rate ||
        options.max_pass_loss)
        throw usage_error("dial: a limit of quality needs --text or --tasks to measure it");
    const std::vector<const model::rung*> rungs = as_usage([&] {
        return options.settings.empty() ? model::standard_rungs()
                                        : model::parse_rungs(options.settings);
    });
    if (!options.plot.empty()) {
        const std::array<std::filesystem::path, 1> inputs{options.file};
        refuse_same_file(options.plot, inputs);
        clean_up_on_signals();
    }
    const measured_dial result = measure(options, rungs);
    options.as_json ? print_json(result) : print_text(result);
    if (!options.plot.empty()) write_plot(result, options);
}

}  // namespace tool
