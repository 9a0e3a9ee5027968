// SPDX-License-Identifier: Apache-2.0
//
// Deciding what a conversion makes of a model, tensor by tensor and byte by byte. No weights are
// read here: convert.hpp carries it out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qdial/error.hpp"
#include "qdial/gguf/metadata.hpp"
#include "qdial/gguf/writer.hpp"
#include "qdial/model/architecture.hpp"
#include "qdial/model/imatrix.hpp"
#include "qdial/model/recipes.hpp"
#include "qdial/model/source.hpp"

namespace qdial::model {

/// The metadata of the quantized file: the source's in its order without what is about shards,
/// then the quantization's own keys.
[[nodiscard]] inline gguf::metadata converted_metadata(const gguf::metadata& source,
                                                       const recipe& made_from,
                                                       const importance_matrix* importance) {
    gguf::metadata result;
    for (const gguf::entry& entry : source)
        if (!entry.key().starts_with("split.")) result.append(entry);
    result.set("general.quantization_version", std::uint32_t{2});
    result.set("general.file_type", made_from.file_type);
    if (importance != nullptr) importance->describe_in(result);
    return result;
}

/// The file that a plan for this source makes. `target` is the file that errors mention.
[[nodiscard]] inline gguf::file_plan lay_out(const model_source& source,
                                             const quantization_plan& plan, std::string target,
                                             const importance_matrix* importance = nullptr) {
    std::vector<gguf::tensor_spec> specs;
    for (const planned_tensor& planned : plan.tensors) {
        const gguf::tensor& tensor = *source.tensors()[planned.source].tensor;
        specs.push_back(
            {std::string(tensor.name), tensor.shape, find_format(planned.format).value()});
    }
    return gguf::file_plan(std::move(target),
                           converted_metadata(source.metadata(), *plan.made_from, importance),
                           std::move(specs));
}

/// A conversion that is decided but not yet carried out; no weights have been read.
class conversion {
public:
    /// Throws `error` where the options or the formats do not allow it (see `check_plan`), and
    /// for an importance matrix of another model. `target` is the file that errors mention.
    /// Source and importance matrix must outlive the conversion.
    conversion(const model_source& source, std::string target, const recipe& made_from,
               plan_options options = {}, const importance_matrix* importance = nullptr)
        : source_(source), importance_(importance) {
        options.file = source.name();
        if (importance != nullptr) {
            check_importance();
            options.has_importance = [importance](const tensor_shape& tensor) {
                return !importance->find(tensor).empty();
            };
        }
        plan_ =
            make_plan(made_from, architecture_from(source.metadata()), source.shapes(), options);
        layout_.emplace(lay_out(source, plan_, std::move(target), importance));
    }

    [[nodiscard]] const model_source& source() const noexcept { return source_; }
    [[nodiscard]] const importance_matrix* importance() const noexcept { return importance_; }
    /// What becomes of each tensor, in the order of the quantized file.
    [[nodiscard]] const quantization_plan& plan() const noexcept { return plan_; }
    /// The quantized file, in the same order.
    [[nodiscard]] const gguf::file_plan& layout() const noexcept { return *layout_; }

private:
    void check_importance() const {
        const auto has_weights = [this](const tensor_shape& tensor) {
            return !importance_->find(tensor).empty();
        };
        if (std::ranges::none_of(source_.shapes(), has_weights))
            throw error(importance_->file() + ": found importance for none of the tensors of " +
                        source_.name() + ", expected an importance matrix of this model");
    }

    const model_source& source_;
    const importance_matrix* importance_;
    quantization_plan plan_;
    std::optional<gguf::file_plan> layout_;
};

/// How far a conversion is, in bytes of the source's tensors.
struct conversion_progress {
    std::uint64_t done;
    std::uint64_t total;
};

}  // namespace qdial::model
