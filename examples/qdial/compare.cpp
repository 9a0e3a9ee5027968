// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "commands.hpp"
#include "json.hpp"
#include "kernels.hpp"

namespace tool {
namespace {

namespace model = qdial::model;
namespace gguf = qdial::gguf;

struct compared_tensor {
    model::source_tensor reference, other;
    model::weight_error error;
};

struct comparison {
    std::vector<compared_tensor> tensors;
    std::vector<std::string> problems;  ///< what could not be compared, one line each
    model::weight_error total;          ///< of all tensors
    model::weight_error matrices;       ///< of those that recipes may quantize
    std::size_t matrix_count = 0;
};

/// Why two tensors of one name cannot be compared; empty if they can.
std::string obstacle(const gguf::tensor& reference, const gguf::tensor& other) {
    if (!(reference.shape == other.shape))
        return "found shape " + gguf::to_string(other.shape) + ", expected " +
               gguf::to_string(reference.shape);
    for (const gguf::tensor* tensor : {&reference, &other})
        if (!tensor->format.decodable)
            return std::string(tensor->format.name) + " cannot be decoded";
    return {};
}

/// Tensors that are the same bytes of a type that cannot be decoded (token ids, for example).
bool same_bytes(const gguf::tensor& a, const gguf::tensor& b) {
    return a.format.gguf_id == b.format.gguf_id && a.shape == b.shape &&
           std::ranges::equal(a.data, b.data);
}

comparison compare_models(const model::model_source& reference, const model::model_source& other,
                          thread_pool& threads) {
    comparison result;
    std::map<std::string_view, model::source_tensor> by_name;
    for (const model::source_tensor& entry : other.tensors()) by_name[entry.tensor->name] = entry;
    const auto problem = [&](std::string_view name, const std::string& what) {
        result.problems.push_back("tensor " + gguf::detail::quoted(name) + ": " + what);
    };
    progress_display progress;
    std::uint64_t done = 0, total = 0;
    for (const model::source_tensor& entry : reference.tensors())
        total += entry.tensor->data.size();
    for (std::size_t i = 0; i < reference.tensors().size(); ++i) {
        const model::source_tensor& entry = reference.tensors()[i];
        const std::string_view name = entry.tensor->name;
        progress.show(done, total);
        done += entry.tensor->data.size();
        const auto found = by_name.extract(name);
        if (found.empty()) {
            problem(name, "not found in " + other.name());
            continue;
        }
        const model::source_tensor counterpart = found.mapped();
        const std::string why = obstacle(*entry.tensor, *counterpart.tensor);
        if (!why.empty()) {
            if (!same_bytes(*entry.tensor, *counterpart.tensor)) problem(name, why);
            continue;
        }
        const model::weight_error error = compare_tensors(entry, counterpart, threads);
        result.tensors.push_back({entry, counterpart, error});
        result.total += error;
        if (model::may_be_quantized(reference.shapes()[i])) {
            result.matrices += error;
            ++result.matrix_count;
        }
    }
    for (const auto& [name, entry] : by_name) problem(name, "not found in " + reference.name());
    // The worst first; errors that are no numbers are the worst.
    std::ranges::sort(result.tensors, {}, [](const compared_tensor& t) {
        const double error = t.error.relative_rmse();
        return std::tuple(!std::isnan(error), std::isnan(error) ? 0.0 : -error,
                          t.reference.tensor->name);
    });
    return result;
}

json error_json(const model::weight_error& error) {
    return {{"relative_rmse", error.relative_rmse()},
            {"largest_error", error.largest},
            {"cosine", error.cosine()}};
}

void print_json(const comparison& result) {
    json tensors = json::array();
    for (const compared_tensor& t : result.tensors) {
        json item{{"name", std::string(t.reference.tensor->name)},
                  {"shape", shape_json(t.reference.tensor->shape)},
                  {"reference_type", t.reference.tensor->format.name},
                  {"type", t.other.tensor->format.name}};
        item.update(error_json(t.error));
        tensors.push_back(std::move(item));
    }
    json total = error_json(result.total), matrices = error_json(result.matrices);
    total["weights"] = result.total.elements;
    matrices["weights"] = result.matrices.elements;
    print({{"tensors", std::move(tensors)},
           {"total", std::move(total)},
           {"matrices", std::move(matrices)},
           {"not_compared", result.problems}});
}

void print_text(const comparison& result) {
    table tensors({{"tensor", false},
                   {"reference", false},
                   {"other", false},
                   {"relative RMSE"},
                   {"largest error"},
                   {"cosine"}});
    const auto add = [&](std::string name, std::string from, std::string to,
                         const model::weight_error& error) {
        tensors.add({std::move(name), std::move(from), std::move(to),
                     fmt::format("{:.4f}%", 100 * error.relative_rmse()),
                     fmt::format("{:.4g}", error.largest), fmt::format("{:.8f}", error.cosine())});
    };
    for (const compared_tensor& t : result.tensors)
        add(printable(t.reference.tensor->name), std::string(t.reference.tensor->format.name),
            std::string(t.other.tensor->format.name), t.error);
    add(fmt::format("all {} compared", result.tensors.size()), "", "", result.total);
    add(fmt::format("the {} matrices among them", result.matrix_count), "", "", result.matrices);
    tensors.print();
    for (const std::string& problem : result.problems)
        fmt::print("not compared: {}\n", printable(problem));
}

}  // namespace

void compare(const compare_options& options) {
    const model::model_source reference(options.reference), other(options.other);
    thread_pool threads(options.threads);
    const comparison result = compare_models(reference, other, threads);
    options.as_json ? print_json(result) : print_text(result);
    if (!result.problems.empty())
        throw qdial::error(fmt::format("{} and {}: {} tensors could not be compared, first {}",
                                       reference.name(), other.name(), result.problems.size(),
                                       result.problems.front()));
}

}  // namespace tool
