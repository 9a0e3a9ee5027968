// SPDX-License-Identifier: Apache-2.0
//
// Linear layers: a matrix of weights, packed, times rows of activations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qdial/gguf/reader.hpp"
#include "qdial/kernels/packed_activations.hpp"
#include "threads.hpp"

namespace engine {

/// Memory for the packed kernels: on a cache line, not initialised.
class aligned_bytes {
public:
    aligned_bytes() = default;
    explicit aligned_bytes(std::size_t size)
        : data_(size == 0 ? nullptr
                          : static_cast<std::byte*>(::operator new(size, std::align_val_t{64}))),
          size_(size) {}
    [[nodiscard]] std::byte* data() const noexcept { return data_.get(); }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    struct deleter {
        void operator()(std::byte* p) const noexcept {
            ::operator delete(p, std::align_val_t{64});
        }
    };
    std::unique_ptr<std::byte, deleter> data_;
    std::size_t size_ = 0;
};

/// Rows of activations as linear layers take them. Quantized once for each partner format, so
/// that layers with the same input (queries, keys and values; gate and up) share the blocks.
class linear_input {
public:
    /// Takes `n` rows of `row_length` floats, which must stay as they are until the next call.
    void set(const float* rows, std::size_t n, std::size_t row_length) noexcept;

    [[nodiscard]] const float* rows() const noexcept { return rows_; }
    [[nodiscard]] std::size_t count() const noexcept { return n_; }
    [[nodiscard]] std::size_t row_length() const noexcept { return row_length_; }

    /// The rows as A packs them, made when they are first asked for.
    template <class A>
    [[nodiscard]] qdial::packed_activations<A> packed(thread_pool& threads);

private:
    /// Of one partner format.
    struct packed_rows {
        std::uint32_t format;
        aligned_bytes bytes;
        bool current;
    };
    [[nodiscard]] packed_rows& find(std::uint32_t format);

    const float* rows_ = nullptr;
    std::size_t n_ = 0, row_length_ = 0;
    std::vector<packed_rows> packed_;
};

/// y = W x + b.
class linear {
public:
    linear() = default;
    /// Packs the tensor, a matrix; `bias` is empty or a float for each row of it.
    /// Throws `qdial::error` for types that have no kernels.
    linear(const qdial::gguf::tensor& tensor, std::vector<float> bias, thread_pool& threads);

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] std::size_t row_length() const noexcept { return row_length_; }
    /// GGUF id of the weights' format.
    [[nodiscard]] std::uint32_t format() const noexcept { return format_; }
    [[nodiscard]] std::uint64_t packed_bytes() const noexcept { return packed_.size(); }

    /// y[j * rows() + i] = sum over k of W[i][k] x[j][k], plus b[i], for all rows j of `x`.
    void multiply(linear_input& x, float* y, thread_pool& threads) const;

private:
    std::string name_;
    std::size_t rows_ = 0, row_length_ = 0;
    std::uint32_t format_ = 0;
    std::vector<float> bias_;
    aligned_bytes packed_;
};

}  // namespace engine
