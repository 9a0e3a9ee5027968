// SPDX-License-Identifier: Apache-2.0
#include "linear.hpp"

#include <algorithm>

#include "qdial/error.hpp"
#include "qdial/kernels/dot.hpp"
#include "qdial/model/codec.hpp"
#include "vector_math.hpp"

namespace engine {

void linear_input::set(const float* rows, std::size_t n, std::size_t row_length) noexcept {
    rows_ = rows;
    n_ = n;
    row_length_ = row_length;
}

linear::linear(const qdial::gguf::tensor& tensor, std::vector<float> bias, thread_pool&)
    : name_(tensor.name),
      rows_(tensor.shape.row_count()),
      row_length_(tensor.shape.row_length()),
      format_(tensor.format.gguf_id),
      bias_(std::move(bias)),
      packed_(tensor.data) {
    if (!tensor.format.decodable)
        throw qdial::error("tensor " + name_ + ": its type " + std::string(tensor.format.name) +
                           " has no kernels");
}

void linear::multiply(linear_input& x, float* y, thread_pool& threads) const {
    constexpr std::size_t tile = 16;
    const std::size_t row_bytes = packed_.size() / rows_;
    threads((rows_ + tile - 1) / tile, [&](std::size_t t) {
        std::vector<float> row(row_length_);
        for (std::size_t i = t * tile; i < std::min(rows_, (t + 1) * tile); ++i) {
            qdial::model::decode(format_, packed_.subspan(i * row_bytes, row_bytes), row);
            for (std::size_t j = 0; j < x.count(); ++j)
                y[j * rows_ + i] =
                    qdial::dot<qdial::f32>(std::span<const float>(row),
                                           std::span(x.rows() + j * row_length_, row_length_));
        }
    });
    if (!bias_.empty())
        threads(x.count(), [&](std::size_t j) { add(y + j * rows_, bias_.data(), rows_); });
}

}  // namespace engine
