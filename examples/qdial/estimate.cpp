// SPDX-License-Identifier: Apache-2.0
#include "qdial/model/estimate.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <vector>

#include "commands.hpp"
#include "json.hpp"
#include "qdial/model/builtin_shapes.hpp"
#include "qdial/model/conversion.hpp"

namespace tool {
namespace {

namespace model = qdial::model;

/// The estimate for a file: with the size that the converted file really gets.
model::model_estimate estimate_file(const std::string& path, std::uint64_t context) {
    const model::model_source source(path);
    const model::architecture arch = model::architecture_from(source.metadata());
    model::model_estimate result = model::estimate(arch, source.shapes(), context);
    for (model::recipe_estimate& line : result.recipes) {
        const auto plan = model::choose_types(*line.made_from, arch, source.shapes());
        line.file_bytes = model::lay_out(source, plan, source.name()).file_bytes();
    }
    return result;
}

model::model_estimate estimate_model(const estimate_options& options) {
    const model::transformer_shape* shape = model::find_builtin_shape(options.what);
    std::error_code code;
    if (shape != nullptr && !std::filesystem::exists(options.what, code))
        return model::estimate(model::architecture_from(*shape), model::tensors_of(*shape),
                               options.context);
    if (shape == nullptr && !std::filesystem::exists(options.what, code))
        throw qdial::error(options.what + ": found neither a file of this name nor a shape, " +
                           "expected a GGUF file or one of " + shape_names());
    return estimate_file(options.what, options.context);
}

void print_json(const estimate_options& options, const model::model_estimate& result) {
    json recipes = json::array();
    for (const model::recipe_estimate& line : result.recipes) {
        json fits;
        for (std::size_t i = 0; i < line.fits.size(); ++i)
            fits[fmt::format("{} GB", model::machine_gibibytes[i])] = bool{line.fits[i]};
        recipes.push_back({{"recipe", line.made_from->name},
                           {"file_bytes", line.file_bytes},
                           {"bits_per_weight", line.bits_per_weight},
                           {"fallbacks", line.fallbacks},
                           {"memory_bytes", line.memory_bytes},
                           {"fits", std::move(fits)}});
    }
    print({{"model", options.what},
           {"context", result.context},
           {"kv_cache_bytes", result.kv_cache_bytes},
           {"working_bytes", result.working_bytes},
           {"recipes", std::move(recipes)}});
}

void print_text(const estimate_options& options, const model::model_estimate& result) {
    std::vector<table::column> columns{
        {"recipe", false}, {"file MiB"}, {"bits/weight"}, {"memory MiB"}};
    for (const std::uint32_t size : model::machine_gibibytes)
        columns.push_back({fmt::format("{} GB", size)});
    table lines(columns);
    for (const model::recipe_estimate& line : result.recipes) {
        std::vector<std::string> cells{
            std::string(line.made_from->name), mebibytes(line.file_bytes),
            fmt::format("{:.2f}", line.bits_per_weight), mebibytes(line.memory_bytes)};
        for (const bool fits : line.fits) cells.push_back(fits ? "fits" : "-");
        lines.add(std::move(cells));
    }
    lines.print();
    fmt::print(
        "\n{}: memory is the weights, {} MiB of key/value cache for a context of {} tokens "
        "and {} MiB to work with; machines keep an eighth, at least 1 GB, to themselves.\n",
        printable(options.what), mebibytes(result.kv_cache_bytes), result.context,
        mebibytes(result.working_bytes));
    std::string fallbacks;
    for (const model::recipe_estimate& line : result.recipes)
        if (line.fallbacks != 0)
            fallbacks += fmt::format(" {} {}", line.made_from->name, line.fallbacks);
    if (!fallbacks.empty())
        fmt::print("Tensors that fall back to other formats, as their rows do not divide:{}\n",
                   fallbacks);
}

}  // namespace

std::string shape_names() {
    std::string names;
    for (const model::transformer_shape& shape : model::builtin_shapes)
        names += (names.empty() ? "" : " ") + std::string(shape.name);
    return names;
}

void estimate(const estimate_options& options) {
    const model::model_estimate result = estimate_model(options);
    options.as_json ? print_json(options, result) : print_text(options, result);
}

}  // namespace tool
