// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "json.hpp"
#include "kernels.hpp"
#include "qdial/gguf/atomic_file.hpp"

namespace tool {
namespace {

namespace model = qdial::model;
namespace gguf = qdial::gguf;

/// The choices as the library takes them; what cannot be understood is wrong usage.
model::plan_options plan_options_of(const quantize_options& options) {
    model::plan_options plan;
    plan.pure = options.pure;
    plan.allow_requantize = options.allow_requantize;
    plan.no_fallback = options.no_fallback;
    as_usage([&] {
        for (const std::string& text : options.tensor_types)
            plan.overrides.push_back(model::parse_type_override(text));
        if (!options.output_type.empty())
            plan.output_format =
                model::parse_target_format(options.output_type, "--output-tensor-type");
        if (!options.embedding_type.empty())
            plan.embedding_format =
                model::parse_target_format(options.embedding_type, "--token-embedding-type");
    });
    return plan;
}

std::string name_of(std::uint32_t format) { return model::format_name(format); }

void print_json(const model::conversion& job) {
    json tensors = json::array(), fallbacks = json::array();
    for (std::size_t i = 0; i < job.layout().tensors().size(); ++i) {
        const gguf::file_plan::slot& slot = job.layout().tensors()[i];
        const model::planned_tensor& planned = job.plan().tensors[i];
        tensors.push_back({{"name", slot.spec.name},
                           {"shape", shape_json(slot.spec.shape)},
                           {"type", slot.spec.format.name},
                           {"bytes", slot.bytes}});
        if (planned.fallback)
            fallbacks.push_back({{"name", slot.spec.name},
                                 {"chosen", name_of(planned.chosen)},
                                 {"type", slot.spec.format.name}});
    }
    print({{"recipe", job.plan().made_from->name},
           {"tensors", std::move(tensors)},
           {"file_bytes", job.layout().file_bytes()},
           {"bits_per_weight", job.plan().bits_per_weight()},
           {"fallbacks", job.plan().fallbacks},
           {"fallback_tensors", std::move(fallbacks)}});
}

void print_tensors(const model::conversion& job) {
    table tensors({{"tensor", false},
                   {"shape", false},
                   {"from", false},
                   {"to", false},
                   {"bytes"},
                   {"", false}});
    for (std::size_t i = 0; i < job.layout().tensors().size(); ++i) {
        const gguf::file_plan::slot& slot = job.layout().tensors()[i];
        const model::planned_tensor& planned = job.plan().tensors[i];
        tensors.add({printable(slot.spec.name), gguf::to_string(slot.spec.shape),
                     name_of(job.source().shapes()[planned.source].format),
                     std::string(slot.spec.format.name), fmt::format("{}", slot.bytes),
                     planned.fallback ? "instead of " + name_of(planned.chosen) : ""});
    }
    tensors.print();
}

/// Says which formats had to give way to others, and why.
void print_fallbacks(const model::conversion& job) {
    if (job.plan().fallbacks == 0) return;
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> counts;
    for (const model::planned_tensor& planned : job.plan().tensors)
        if (planned.fallback) ++counts[{planned.chosen, planned.format}];
    std::string list;
    for (const auto& [formats, count] : counts)
        list += fmt::format("{}{} of {} to {}", list.empty() ? "" : ", ", count,
                            name_of(formats.first), name_of(formats.second));
    fmt::print("{} of {} tensors fell back, as their rows do not divide into blocks: {}\n",
               job.plan().fallbacks, job.plan().tensors.size(), list);
}

void print_totals(const model::conversion& job) {
    fmt::print("{}, {:.2f} bits per weight",
               human_bytes(static_cast<double>(job.layout().file_bytes())),
               job.plan().bits_per_weight());
}

void dry_run(const model::conversion& job, bool as_json) {
    if (as_json) return print_json(job);
    print_tensors(job);
    fmt::print("\n");
    print_fallbacks(job);
    print_totals(job);
    fmt::print(" as {}; nothing was written\n", job.plan().made_from->name);
}

std::vector<std::filesystem::path> inputs_of(const model::model_source& source,
                                             const quantize_options& options) {
    std::vector<std::filesystem::path> inputs;
    for (const gguf::file& file : source.files()) inputs.emplace_back(file.name());
    if (!options.imatrix.empty()) inputs.emplace_back(options.imatrix);
    return inputs;
}

void write_file(const model::conversion& job, const quantize_options& options) {
    refuse_same_file(options.out, inputs_of(job.source(), options));
    clean_up_on_signals();
    progress_display progress;
    gguf::atomic_file out(
        options.out, {.overwrite = options.force, .expected_bytes = job.layout().file_bytes()});
    thread_pool threads(options.threads);
    convert(
        job, [&](std::span<const std::byte> bytes) { out.write(bytes); }, threads,
        [&](const model::conversion_progress& state) { progress.show(state.done, state.total); });
    job.source().check_unchanged();
    out.commit();
    if (options.as_json) return print_json(job);
    print_fallbacks(job);
    fmt::print("{}: ", printable(options.out));
    print_totals(job);
    const double seconds = progress.seconds();
    std::uint64_t source_bytes = 0;
    for (const model::tensor_shape& shape : job.source().shapes())
        source_bytes += model::bytes_in(shape, *qdial::find_format(shape.format));
    fmt::print(", in {:.2f} s ({}/s of {})\n", seconds,
               human_bytes(static_cast<double>(source_bytes) / seconds),
               printable(job.source().name()));
}

}  // namespace

void quantize(const quantize_options& options) {
    const model::plan_options plan = plan_options_of(options);
    const model::recipe& recipe =
        as_usage([&]() -> const model::recipe& { return model::get_recipe(options.recipe); });
    const model::model_source source(options.in);
    std::optional<model::importance_matrix> importance;
    if (!options.imatrix.empty()) importance.emplace(options.imatrix);
    const model::conversion job(source, options.out, recipe, plan,
                                importance ? &*importance : nullptr);
    options.dry_run ? dry_run(job, options.as_json) : write_file(job, options);
}

std::string recipe_names() {
    std::string names;
    for (const model::recipe& recipe : model::recipes)
        names += (names.empty() ? "" : " ") + std::string(recipe.name);
    return names;
}

}  // namespace tool
