// SPDX-License-Identifier: Apache-2.0
#include "speed.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "qdial/formats/list.hpp"
#include "qdial/kernels/gemm.hpp"
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

/// Memory for packed data, from a cache line's start.
class packed_memory {
public:
    explicit packed_memory(std::size_t size)
        : memory_(std::make_unique_for_overwrite<line[]>((size + sizeof(line) - 1) / sizeof(line))),
          size_(size) {}
    std::span<std::byte> bytes() {
        return std::as_writable_bytes(std::span(memory_.get(), size_)).first(size_);
    }

private:
    struct alignas(64) line {
        std::byte bytes[64];
    };
    std::unique_ptr<line[]> memory_;
    std::size_t size_;
};

/// A packed matrix in format F, too large for the caches, and a vector to multiply it with.
template <class F>
class product {
public:
    /// The matrix is made of `rows` over and over.
    product(std::span<const float> rows, std::size_t row_length)
        : row_length_(row_length),
          rows_(rows_of(rows.size(), row_length)),
          weights_(qdial::pack_size<F>(rows_, row_length)),
          activations_(qdial::packed_activations_size<A>(1, row_length)),
          results_(rows_) {
        std::vector<typename F::block> blocks(rows.size() / F::block_length);
        qdial::quantize_rows<F>(rows, row_length, blocks);
        const std::size_t copies = rows_ * row_length / rows.size();
        const std::size_t size = qdial::pack_size<F>(rows_ / copies, row_length);
        for (std::size_t i = 0; i < copies; ++i)
            qdial::pack<F>(std::span<const typename F::block>(blocks), row_length,
                           weights_.bytes().subspan(i * size, size));
        qdial::pack_activations<A>(rows.data(), 1, row_length, row_length, activations_.bytes());
    }

    /// Seconds per weight of one multiplication.
    double run(thread_pool& threads) {
        const auto begin = std::chrono::steady_clock::now();
        qdial::gemv<F>({weights_.bytes().data(), rows_, row_length_},
                       {activations_.bytes().data(), 1, row_length_}, std::span(results_),
                       qdial::output::overwrite, threads);
        const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
        return time.count() / static_cast<double>(rows_ * row_length_);
    }

private:
    using A = qdial::packed_activation<F>;

    /// As many copies of the rows as make a large matrix; packed copies follow each other if each
    /// is a multiple of sixteen rows.
    static std::size_t rows_of(std::size_t elements, std::size_t row_length) {
        const std::size_t rows = elements / row_length;
        const std::size_t bytes = elements / F::block_length * sizeof(typename F::block);
        return rows * (matrix_bytes() / bytes + 1);
    }

    std::size_t row_length_, rows_;
    packed_memory weights_, activations_;
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

/// The first rows of a tensor: about a tile of them, over and over until they are a multiple of the
/// rows that packed matrices interleave.
std::vector<float> first_rows(const model::source_tensor& from, const model::tensor_shape& shape) {
    const std::optional<model::tile> part = model::tile_cutter(shape, true).next();
    std::vector<float> rows(part->elements());
    const qdial::format_info& format = from.tensor->format;
    model::decode(format.gguf_id, model::bytes_of(*part, format, from.tensor->data), rows);
    const std::size_t row_length = static_cast<std::size_t>(shape.dims[0]);
    const std::size_t decoded = rows.size();
    while (rows.size() / row_length % qdial::simd::interleaved_rows != 0)
        rows.push_back(rows[rows.size() % decoded]);
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
            else if constexpr (qdial::packable_format<F> && qdial::encodable_format<F>)
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
