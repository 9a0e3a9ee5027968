// SPDX-License-Identifier: Apache-2.0
#include "speed.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "qdial/formats/list.hpp"
#include "qdial/kernels/activations.hpp"
#include "qdial/kernels/dot.hpp"
#include "qdial/kernels/quantize.hpp"
#include "qdial/model/codec.hpp"
#include "qdial/model/tiles.hpp"

namespace tool {
namespace {

namespace model = qdial::model;

/// Bytes of a matrix that does not fit into the processor's caches.
std::size_t matrix_bytes() {
    long cache = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    cache = std::max(::sysconf(_SC_LEVEL3_CACHE_SIZE), 0L);
#endif
    constexpr std::size_t least = std::size_t{64} << 20, most = std::size_t{128} << 20;
    return std::clamp(2 * static_cast<std::size_t>(cache), least, most);
}

/// A matrix in format F, too large for the caches, and a vector to multiply it with.
template <class F>
class product {
public:
    /// The matrix is made of `rows` over and over.
    product(std::span<const float> rows, std::size_t row_length)
        : row_blocks_(row_length / F::block_length) {
        const std::size_t pattern = rows.size() / F::block_length;
        const std::size_t copies = matrix_bytes() / (pattern * sizeof(block)) + 1;
        weights_ = std::make_unique_for_overwrite<block[]>(copies * pattern);
        qdial::quantize_rows<F>(rows, row_length, std::span(weights_.get(), pattern));
        for (std::size_t i = 1; i < copies; ++i)
            std::memcpy(static_cast<void*>(weights_.get() + i * pattern), weights_.get(),
                        pattern * sizeof(block));
        activations_.resize(row_length / A::block_length);
        const std::span<const float> vector = rows.first(row_length);
        if constexpr (A::is_float)
            qdial::quantize<A>(vector, activations_);
        else
            qdial::quantize_activations<A>(vector, activations_);
        results_.resize(copies * pattern / row_blocks_);
    }

    /// Seconds per weight of one multiplication.
    double run(thread_pool& threads) {
        const std::size_t rows = results_.size();
        const std::size_t rows_per_task = std::max<std::size_t>(rows / 128, 1);
        const auto begin = std::chrono::steady_clock::now();
        threads((rows + rows_per_task - 1) / rows_per_task, [&](std::size_t task) {
            const std::size_t end = std::min((task + 1) * rows_per_task, rows);
            for (std::size_t row = task * rows_per_task; row < end; ++row)
                results_[row] = qdial::dot<F>(
                    std::span<const block>(weights_.get() + row * row_blocks_, row_blocks_),
                    activations_);
        });
        const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
        return time.count() / static_cast<double>(rows * row_blocks_ * F::block_length);
    }

private:
    using A = typename F::activation;
    using block = typename F::block;
    std::size_t row_blocks_;
    std::unique_ptr<block[]> weights_;
    std::vector<typename A::block> activations_;
    std::vector<float> results_;
};

/// How many times faster than the baseline `candidate` is: the median over repetitions in turn,
/// which see the same machine.
template <class F>
double ratio(product<qdial::f16>& baseline, product<F> candidate, thread_pool& threads) {
    constexpr std::size_t repetitions = 9;
    std::vector<double> ratios;
    for (std::size_t i = 0; i <= repetitions; ++i) {
        const double found = baseline.run(threads) / candidate.run(threads);
        if (i != 0) ratios.push_back(found);  // the first one warms up
    }
    std::ranges::nth_element(ratios, ratios.begin() + repetitions / 2);
    return ratios[repetitions / 2];
}

/// True for the matrices that are multiplied for every token: embeddings are looked up, unless
/// they serve as the output head too.
bool is_multiplied(const model::tensor_shape& tensor, bool tied) {
    return model::may_be_quantized(tensor) &&
           (tied || model::role_of(tensor.name) != model::tensor_role::embedding);
}

bool is_tied(std::span<const model::tensor_shape> tensors) {
    return std::ranges::none_of(tensors, [](const model::tensor_shape& tensor) {
        return model::role_of(tensor.name) == model::tensor_role::output;
    });
}

/// For every format the largest matrix that gets it.
std::map<std::uint32_t, std::size_t> largest_matrices(
    std::span<const model::tensor_shape> tensors, std::span<const model::quantization_plan> plans) {
    const bool tied = is_tied(tensors);
    std::map<std::uint32_t, std::size_t> largest;
    for (const model::quantization_plan& plan : plans) {
        for (const model::planned_tensor& planned : plan.tensors) {
            const model::tensor_shape& tensor = tensors[planned.source];
            if (!is_multiplied(tensor, tied) || tensor.elements() == 0) continue;
            const auto [found, added] = largest.emplace(planned.format, planned.source);
            if (!added && tensors[found->second].elements() < tensor.elements())
                found->second = planned.source;
        }
    }
    return largest;
}

/// The first rows of a tensor, about a tile of them.
std::vector<float> first_rows(const model::source_tensor& from, const model::tensor_shape& shape) {
    const std::optional<model::tile> part = model::tile_cutter(shape, true).next();
    std::vector<float> rows(part->elements());
    const qdial::format_info& format = from.tensor->format;
    model::decode(format.gguf_id, model::bytes_of(*part, format, from.tensor->data), rows);
    return rows;
}

}  // namespace

std::map<std::uint32_t, double> measure_speeds(const model::model_source& source,
                                               std::span<const model::quantization_plan> plans,
                                               thread_pool& threads) {
    std::map<std::uint32_t, double> speeds;
    std::optional<product<qdial::f16>> baseline;
    for (const auto& [format, index] : largest_matrices(source.shapes(), plans)) {
        const auto row_length = static_cast<std::size_t>(source.shapes()[index].dims[0]);
        const std::vector<float> rows = first_rows(source.tensors()[index], source.shapes()[index]);
        if (!baseline) baseline.emplace(rows, row_length);
        qdial::visit(format, [&]<class F>(F) {
            if constexpr (std::same_as<F, qdial::f16>)
                speeds[format] = 1.0;
            else if constexpr (qdial::weight_format<F> && qdial::encodable_format<F>)
                speeds[format] = ratio(*baseline, product<F>(rows, row_length), threads);
        });
    }
    return speeds;
}

double speed_of(const model::quantization_plan& plan, std::span<const model::tensor_shape> tensors,
                const std::map<std::uint32_t, double>& speeds) {
    const bool tied = is_tied(tensors);
    double time = 0, time_in_f16 = 0;
    for (const model::planned_tensor& planned : plan.tensors) {
        const model::tensor_shape& tensor = tensors[planned.source];
        if (!is_multiplied(tensor, tied) || tensor.elements() == 0) continue;
        time_in_f16 += static_cast<double>(tensor.elements());
        time += static_cast<double>(tensor.elements()) / speeds.at(planned.format);
    }
    return time == 0 ? 1.0 : time_in_f16 / time;
}

}  // namespace tool
